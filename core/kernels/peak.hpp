// SPDX-License-Identifier: Apache-2.0
//
// What the arithmetic units of this machine can do at the current level: the yardstick for benchmarks.
#pragma once

#include "core/threads/parallel.hpp"

namespace attn::kernels {

// GFLOP/s (multiply and add are two) of independent fused multiply-adds, at the current level, with `threads`
// workers of `parallel` at once (at most its concurrency); of products of bfloat16 where its calls have them. Best of several runs; takes about 0.1 s. At level
// reference it measures scalar code. Throws InvalidArgument when threads < 1. [any-thread]
[[nodiscard]] double fma_peak(int threads, Parallel& parallel);

// The same on the process-wide pool.
[[nodiscard]] double fma_peak(int threads);

}  // namespace attn::kernels
