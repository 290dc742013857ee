// SPDX-License-Identifier: Apache-2.0
//
// A command in a process of its own: what a plugin does to that process, it does to no other. One thread.
#pragma once

#include <optional>
#include <string>

namespace attn::cli {

class Isolation {
 public:
  // Continues in a child, which behaves as the program would; the parent waits for it there and has its exit code. Throws
  // Failure, in the parent, when the child was ended by a signal, by an exit() or after so many seconds (0: no limit).
  // The message says where it was.
  explicit Isolation(double seconds);
  // In the child: the command came to its end, well or with an error that it reports itself.
  ~Isolation();
  Isolation(const Isolation&) = delete;
  Isolation& operator=(const Isolation&) = delete;

  // In the parent.
  [[nodiscard]] std::optional<int> exit_code() const { return exit_code_; }
  // In the child: what it is about to do. call: "build"; type and plugin keep their values when empty.
  void enter(const std::string& call, const std::string& type = "", const std::string& plugin = "");

 private:
  struct Place;
  void wait(int child, double seconds);
  [[noreturn]] void fail(const std::string& what) const;

  Place* place_;
  std::optional<int> exit_code_{};
};

}  // namespace attn::cli
