// SPDX-License-Identifier: Apache-2.0
//
// Texts that were read and approved: a file of blocks, each a line that says what was tried and below it what came.
// ATTN_APPROVE=1 writes the blocks of now into the file; read the difference before it is committed.
#pragma once

#include <catch2/catch.hpp>

#include <cstdlib>
#include <fstream>
#include <string>

namespace attn::test {

// Plugins and kernels have one text, which says what would have been right, or what to do.
inline bool says_what_is_right(const std::string& message) {
  for (const char* word : {" must ", "; it has ", "broadcast to", "expected ", "ccepted: ",
                           "known are ", "; give ", "; choose ", "; build ", "; check "})
    if (message.find(word) != std::string::npos) return true;
  return false;
}

inline std::string replaced(std::string text, const std::string& from, const std::string& to) {
  for (size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size())
    text.replace(at, from.size(), to);
  return text;
}

class Approved {
 public:
  // name: of a file beside this one.
  explicit Approved(const std::string& name) : path_(ATTN_SOURCE_DIR "/tests/messages/" + name) {
    std::ifstream file(path_, std::ios::binary);
    text_.assign(std::istreambuf_iterator<char>(file), {});
  }

  [[nodiscard]] const std::string& text() const { return text_; }
  void add_title(const std::string& line) { now_ += (now_.empty() ? "" : "\n") + line + "\n"; }
  // answer: ends with the end of a line.
  void add(const std::string& tried, const std::string& answer) {
    const std::string block = "\n" + tried + "\n" + answer;
    now_ += block;
    ++blocks_;
    INFO("ATTN_APPROVE=1 writes the file anew. Now it is:" << block);
    if (!writes()) CHECK((text_ + "\n").find(block + "\n") != std::string::npos);
  }
  // The file has these blocks and no others. Their number.
  size_t check() {
    if (writes()) std::ofstream(path_, std::ios::binary) << now_;
    CHECK((writes() || text_ == now_));
    return blocks_;
  }

 private:
  static bool writes() { return std::getenv("ATTN_APPROVE") != nullptr; }

  std::string path_, text_, now_;
  size_t blocks_ = 0;
};

}  // namespace attn::test
