// SPDX-License-Identifier: Apache-2.0
//
// How many types the library comes with: each folder of plugins is one file with one type.
#pragma once

#include <algorithm>
#include <filesystem>

namespace attn::test {

inline size_t plugin_folders() {
  const std::filesystem::directory_iterator all(ATTN_SOURCE_DIR "/plugins");
  return static_cast<size_t>(
      std::count_if(begin(all), end(all), [](const auto& entry) { return entry.is_directory(); }));
}

}  // namespace attn::test
