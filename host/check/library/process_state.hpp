// SPDX-License-Identifier: Apache-2.0
//
// What of a process a plugin must leave as it is.
#pragma once

#include <string>
#include <vector>

namespace attn::check {

// Settings of the process, as text: signal handlers, locale, working directory, umask, environment, arithmetic.
// Equal lists: nothing was changed.
[[nodiscard]] std::vector<std::string> process_settings();
[[nodiscard]] int thread_count_now();
// A line for each open file descriptor: "4 -> socket:[123]".
[[nodiscard]] std::vector<std::string> open_files();
// Those of `after` that are not in `before`.
[[nodiscard]] std::vector<std::string> added(const std::vector<std::string>& before,
                                             const std::vector<std::string>& after);

// Standard output and standard error of this process go into memory as long as it lives.
class CaughtOutput {
 public:
  CaughtOutput();
  ~CaughtOutput();
  CaughtOutput(const CaughtOutput&) = delete;
  CaughtOutput& operator=(const CaughtOutput&) = delete;
  // What was written so far, on one line; empty: nothing.
  [[nodiscard]] std::string text() const;

 private:
  int memory_, out_, err_;
};

}  // namespace attn::check
