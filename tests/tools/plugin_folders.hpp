// SPDX-License-Identifier: Apache-2.0
//
// What the library comes with: each folder of plugins is one file, with a type of its name and an example.json. Further
// types of the file have an example TYPE.json there.
#pragma once

#include <algorithm>
#include <filesystem>
#include <map>
#include <string>

namespace attn::test {

inline size_t plugin_folders() {
  const std::filesystem::directory_iterator all(ATTN_SOURCE_DIR "/plugins");
  return static_cast<size_t>(
      std::count_if(begin(all), end(all), [](const auto& entry) { return entry.is_directory(); }));
}

// The path of the example of each type.
inline std::map<std::string, std::filesystem::path> type_examples() {
  std::map<std::string, std::filesystem::path> out;
  for (const auto& folder : std::filesystem::directory_iterator(ATTN_SOURCE_DIR "/plugins")) {
    if (!folder.is_directory()) continue;
    for (const auto& file : std::filesystem::directory_iterator(folder.path())) {
      if (file.path().extension() != ".json") continue;
      const std::string name = file.path().stem();
      out[name == "example" ? folder.path().filename().string() : name] = file.path();
    }
  }
  return out;
}

}  // namespace attn::test
