// SPDX-License-Identifier: Apache-2.0
//
// The least time that a call can take on this machine: what its arithmetic needs at the multiply-add peak, or what its
// memory needs at the bandwidth of the level that it fits, whichever is longer.
#pragma once

#include <array>

#include "core/kernels/bandwidth.hpp"

namespace attn::kernels {

// One call, by what it cannot do without.
struct Work {
  double flops = 0;
  double read = 0, written = 0;  // bytes: each input, weight, state and output once
  double held = 0;               // bytes that it touches: they decide the level
};

// Measured at the current level.
struct Machine {
  int threads = 1;
  double peak = 0;                                // GFLOP/s
  bool bfloat16 = false;                          // of products that round to it
  std::array<Bandwidth, kMemoryLevels> memory{};  // by MemoryLevel
  cpu::Caches caches{};
};

// Takes about half a second. Throws as fma_peak() and bandwidth() do. [any-thread]
[[nodiscard]] Machine measure_machine(int threads, Parallel& parallel);
// The same on the process-wide pool. bfloat16: the peak is that of products which may round to it.
[[nodiscard]] Machine measure_machine(int threads, bool bfloat16 = false);

enum class Bound { fma, read, copy };
[[nodiscard]] const char* name(Bound bound) noexcept;

struct Limit {
  double seconds = 0;
  Bound bound = Bound::fma;
  MemoryLevel level = MemoryLevel::memory;
};

// As many bytes as are both read and written move at the bandwidth of copies, the rest at that of reads; `bound` says
// which of the two takes longer where memory is the limit.
[[nodiscard]] Limit limit_of(const Work& work, const Machine& machine);

}  // namespace attn::kernels
