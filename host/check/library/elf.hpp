// SPDX-License-Identifier: Apache-2.0
//
// What the dynamic linker will find in a plugin file, read without loading it.
#pragma once

#include <string>
#include <vector>

namespace attn::check {

struct DynamicSymbol {
  std::string name;
  bool defined = false, weak = false, unique = false;
};

struct ElfFacts {
  std::vector<std::string> needed;  // libraries
  std::vector<DynamicSymbol> symbols;
  std::string build_id;
  bool executable_stack = false, text_relocations = false;
};

// Throws Failure with the reason when it cannot be read.
[[nodiscard]] ElfFacts read_elf(const std::string& path);

}  // namespace attn::check
