// SPDX-License-Identifier: Apache-2.0
//
// What the memory of this machine can do at the current level: the yardstick of what reads and writes more than it
// computes, as peak.hpp is of the rest.
#pragma once

#include <cstdint>

#include "core/cpu/caches.hpp"
#include "core/threads/parallel.hpp"

namespace attn::kernels {

// GB/s that threads together reach; a copied byte counts twice, as read and as written.
struct Bandwidth {
  double read = 0, copy = 0;
};

// Over `bytes` of memory (in huge pages where the system gives them), again and again, so that they come from
// the cache they fit in; a half of them is copied to the other. Each of `threads` workers of `parallel` has its part.
// Copies by plain and by non-temporal stores, whichever is faster. Best of several runs, about 50 ms. Throws
// InvalidArgument when threads < 1. [any-thread]
[[nodiscard]] Bandwidth bandwidth(int64_t bytes, int threads, Parallel& parallel);

// Where bytes are that a call reads again and again: in the second cache, the third, or none.
enum class MemoryLevel { second, third, memory };
inline constexpr int kMemoryLevels = 3;
[[nodiscard]] const char* name(MemoryLevel level) noexcept;  // "L2", "L3", "memory"
[[nodiscard]] MemoryLevel level_of(double bytes, int threads, const cpu::Caches& caches);
// Bytes to measure a level by: half of its caches, and of memory four times the last
// cache, up to 1 GB.
[[nodiscard]] int64_t sample_of(MemoryLevel level, int threads, const cpu::Caches& caches);

}  // namespace attn::kernels
