// SPDX-License-Identifier: Apache-2.0
#include "core/kernels/limit.hpp"

#include <algorithm>
#include <cmath>

#include "core/kernels/gemm_bf16.hpp"
#include "core/kernels/peak.hpp"
#include "core/threads/pool.hpp"

namespace attn::kernels {

Machine measure_machine(int threads, Parallel& parallel) {
  Machine m;
  m.threads = std::min(threads, parallel.concurrency());
  m.peak = fma_peak(threads, parallel);
  m.bfloat16 = uses_bf16(parallel);
  m.caches = cpu::caches();
  for (int i = 0; i < kMemoryLevels; ++i) {
    const auto level = static_cast<MemoryLevel>(i);
    const bool there = level != MemoryLevel::third || m.caches.third.bytes > 0;
    if (there)
      m.memory[static_cast<size_t>(i)] =
          bandwidth(sample_of(level, m.threads, m.caches), m.threads, parallel);
  }
  return m;
}

Machine measure_machine(int threads, bool bfloat16) {
  threads::PoolParallel parallel;
  parallel.bfloat16 = bfloat16;
  return measure_machine(threads, parallel);
}

const char* name(Bound bound) noexcept {
  return bound == Bound::fma ? "fma" : bound == Bound::read ? "read" : "copy";
}

Limit limit_of(const Work& work, const Machine& machine) {
  Limit l;
  l.level = level_of(work.held, machine.threads, machine.caches);
  const Bandwidth& memory = machine.memory[static_cast<size_t>(l.level)];
  const double both = 2 * std::min(work.read, work.written);
  const double copying = both / memory.copy * 1e-9;
  const double reading = std::abs(work.read - work.written) / memory.read * 1e-9;
  const double computing = work.flops / machine.peak * 1e-9;
  l.seconds = std::max(computing, copying + reading);
  if (copying + reading > computing) l.bound = copying > reading ? Bound::copy : Bound::read;
  return l;
}

}  // namespace attn::kernels
