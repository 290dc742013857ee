// SPDX-License-Identifier: Apache-2.0
//
// For tests of what a process does at its end: a child made by fork(), and how it ended.
#pragma once

#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <iostream>
#include <string>
#include <thread>

namespace attn::testing {

// Runs work() in a child, which ends as a program does: by exit(), 0 when work() returned true. How it ended in
// words: "exit 0", "exit 1", "exit 2" (an exception), "signal 11", or "hangs".
template <class Work>
std::string in_child(Work&& work, std::chrono::seconds deadline = std::chrono::seconds(20)) {
  std::cout.flush();
  std::fflush(nullptr);
  const pid_t child = ::fork();
  if (child < 0) return "no child";
  if (child == 0) {
    int code = 2;
    try {
      code = work() ? 0 : 1;
    } catch (const std::exception& e) {
      std::cerr << "in the child: " << e.what() << std::endl;
    }
    std::exit(code);
  }
  int status = 0;
  const auto end = std::chrono::steady_clock::now() + deadline;
  while (::waitpid(child, &status, WNOHANG) == 0) {
    if (std::chrono::steady_clock::now() > end) {
      ::kill(child, SIGKILL);
      ::waitpid(child, &status, 0);
      return "hangs";
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return WIFEXITED(status) ? "exit " + std::to_string(WEXITSTATUS(status))
                           : "signal " + std::to_string(WTERMSIG(status));
}

}  // namespace attn::testing
