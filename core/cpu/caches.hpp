// SPDX-License-Identifier: Apache-2.0
//
// The data caches of this machine: block sizes follow them, and benchmarks name the level that their bytes fit.
#pragma once

#include <cstdint>
#include <string>

namespace attn::cpu {

struct Cache {
  int64_t bytes = 0;  // of one; 0: there is none
  int sharing = 1;    // CPUs that use one together
};

struct Caches {
  Cache first{32 << 10}, second{512 << 10}, third{};
};

// Those of one CPU. What the system does not tell is as above. root: what stands before /sys, for tests.
[[nodiscard]] Caches read_caches(int cpu, const std::string& root = "");

// Those of the first CPU that this process may use. [any-thread]
[[nodiscard]] const Caches& caches();
// For tests: others from now on; not while a call runs.
void set_caches(const Caches& others);

// Bytes that `threads` threads, each on a CPU of its own, have in caches of that kind together.
[[nodiscard]] int64_t capacity(const Cache& cache, int threads);

}  // namespace attn::cpu
