// SPDX-License-Identifier: Apache-2.0
//
// One piece of work in a child process, of which the parent survives everything: crash, hang, exit, output.
//
// The child is made by fork(), so the work sees the memory of the parent as it was. It tells what it does and gives its
// outcome over a pipe, in complete records: what ends before its last one has no outcome. The deadline is the
// parent's. One thread; the parent should have no others.
#pragma once

#include <functional>
#include <string>

#include "host/check/test.hpp"

namespace attn::check {

using Doing = std::function<void(const std::string&)>;
using Work = std::function<Outcome(const Doing&)>;

struct ChildResult {
  Outcome outcome{};      // a failure that says how the child ended when it gave none
  bool complete = false;  // the child gave it
  std::string doing{};    // what it did at last
  std::string output{};   // what was written to standard output and standard error, at most 4 KiB
  double seconds = 0;
};

[[nodiscard]] ChildResult run_in_child(double deadline_seconds, const Work& work);

// Control characters as blanks, at most `most` bytes: text of unknown origin in a message.
[[nodiscard]] std::string one_line(std::string text, size_t most = 300);

}  // namespace attn::check
