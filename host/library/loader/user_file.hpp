// SPDX-License-Identifier: Apache-2.0
//
// Small files that the library keeps for a user between processes. Losing one costs time and nothing else. [any-thread]
#pragma once

#include <cstddef>
#include <string>

namespace attn::loader {

struct UserFile {
  std::string text;
  bool exists = false;
  std::string problem;  // why it is not read; empty: it is, or there is none
};

// A regular file that this user owns and no other may write, of at most `most` bytes. No symbolic link.
[[nodiscard]] UserFile read_user_file(const std::string& path, std::size_t most);

// The whole content, in one step: a reader sees the old file or the new one. Makes the directory. False: it is as it was.
[[nodiscard]] bool replace_user_file(const std::string& path, const std::string& text);

}  // namespace attn::loader
