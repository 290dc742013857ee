// SPDX-License-Identifier: Apache-2.0
//
// The plugins that came with the library: manifest.txt in its plugin directory, written at build and at
// install by attn-plugin-probe. One line a file: build id, size in bytes, hash, name.
//
// A build id in the manifest allows names without a dot, also after the file was copied or stripped. Only a
// file whose bytes are those of the manifest is taken as known good without a probe. [any-thread]
#pragma once

#include <map>
#include <string>

#include "host/library/loader/elf_note.hpp"

namespace attn::loader {

class Manifest {
 public:
  // Missing or unreadable: an empty manifest; problem() says why.
  [[nodiscard]] static Manifest read(const std::string& path);
  // Text of the manifest for the plugins in a directory; files that are not plugins are left out.
  [[nodiscard]] static std::string make(const std::string& directory);

  [[nodiscard]] bool comes_with_library(const PluginNote& note) const;
  [[nodiscard]] bool same_bytes(const PluginNote& note) const;  // note.hash must be filled in

  [[nodiscard]] const std::string& path() const noexcept { return path_; }
  [[nodiscard]] const std::string& problem() const noexcept { return problem_; }

 private:
  struct Entry {
    uint64_t size, hash;
  };
  std::string path_, problem_;
  std::multimap<std::string, Entry> entries_;  // by build id
};

}  // namespace attn::loader
