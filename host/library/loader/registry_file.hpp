// SPDX-License-Identifier: Apache-2.0
//
// What the registry keeps of each plugin file it met. For registry*.cpp only.
#pragma once

#include <optional>
#include <string>

#include "host/library/loader/registry.hpp"

namespace attn::loader {

struct Registry::File {
  std::string path;
  PathSource source = PathSource::library;
  PluginNote note;                   // of a refused file: as far as it could be read
  bool settled = false;              // unchanged for so long that its times tell its states apart
  PluginLibrary* library = nullptr;  // not null: loaded
  std::string sha256;                // where a lock asked for it
  std::optional<Refusal> refusal;
  std::string same_as;  // path of the same file, met before
};

}  // namespace attn::loader
