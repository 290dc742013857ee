// SPDX-License-Identifier: Apache-2.0
//
// How the program measures: one measurement at a time on a machine, and how long a step takes.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>

namespace attn::cli {

using Clock = std::chrono::steady_clock;
[[nodiscard]] double seconds_since(Clock::time_point start);

// Held while something is measured: the same file as tests/bench/harness.py locks. A lock that cannot be had is no reason
// not to measure.
class BenchLock {
 public:
  BenchLock();
  ~BenchLock();
  BenchLock(const BenchLock&) = delete;
  BenchLock& operator=(const BenchLock&) = delete;

 private:
  int file_ = -1;
};

struct Timing {
  double first = 0, least = 0, median = 0;
  double processor = 0;  // least processor time of the calling thread
  size_t repetitions = 0;
};

// As harness.py: once, once more to warm up, then for about `budget` seconds and at least three times. Takes the lock.
[[nodiscard]] Timing measure(const std::function<void()>& step, double budget);

}  // namespace attn::cli
