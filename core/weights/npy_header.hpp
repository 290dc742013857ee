// SPDX-License-Identifier: Apache-2.0
//
// The dictionary of an npy file: {'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }.
//
// The three keys in any order, each once, and nothing else; texts in single or double quotes without
// escapes; a comma may stand behind the last member. Errors: InvalidArgument. [any-thread]
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace attn::weights {

struct NpyDictionary {
  std::string descr{};
  bool fortran_order = false;
  std::vector<int64_t> shape{};
};

[[nodiscard]] NpyDictionary parse_npy_dictionary(std::string_view text, const std::string& file);

}  // namespace attn::weights
