// SPDX-License-Identifier: Apache-2.0
#include "core/kernels/bandwidth.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>

#include "core/error/error.hpp"
#include "core/kernels/table.hpp"

namespace attn::kernels {
namespace {

constexpr int64_t kHugePage = int64_t{2} << 20;
constexpr int64_t kUnit = 512;  // bytes that the kernels take at once

struct Free {
  void operator()(float* p) const { std::free(p); }
};

float read_scalar(int64_t n, const float* x) {
  float sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += x[i];
  return sum;
}

void copy_plain(int64_t n, const float* x, float* y) {
  std::memcpy(y, x, static_cast<size_t>(n) * sizeof(float));
}

// Best GB/s of `work(part)`, which touches `bytes`, with all parts at once.
template <class Work>
double best_rate(double bytes, int parts, Parallel& parallel, Work&& work) {
  using Clock = std::chrono::steady_clock;
  double best = 0;
  const Clock::time_point end = Clock::now() + std::chrono::milliseconds(15);
  for (int repeat = 0; repeat < 4 || (repeat < 64 && Clock::now() < end); ++repeat) {
    const Clock::time_point begin = Clock::now();
    parallel.loop(parts, 1, [&](int64_t first, int64_t last, int) {
      for (int64_t part = first; part < last; ++part) work(part);
    });
    const std::chrono::duration<double> time = Clock::now() - begin;
    best = std::max(best, bytes / time.count() * 1e-9);
  }
  return best;
}

}  // namespace

Bandwidth bandwidth(int64_t bytes, int threads, Parallel& parallel) {
  if (threads < 1) {
    throw InvalidArgument(
        "bandwidth: threads=" + std::to_string(threads) +
        " is not possible; expected at least 1. Pass the number of threads to measure");
  }
  threads = std::min(threads, parallel.concurrency());
  const int64_t part = std::max<int64_t>(bytes / threads / kUnit / 2, 1) * 2 * kUnit;
  const int64_t all = (part * threads + kHugePage - 1) / kHugePage * kHugePage;
  const std::unique_ptr<float, Free> memory(
      static_cast<float*>(std::aligned_alloc(kHugePage, static_cast<size_t>(all))));
  if (!memory) {
    throw Failure("bandwidth: no memory of " + std::to_string(all >> 20) +
                  " MB to measure with; give the process more");
  }
  madvise(memory.get(), static_cast<size_t>(all), MADV_HUGEPAGE);
  const int64_t floats = part / 4, half = floats / 2;
  const auto own = [&](int64_t i) { return memory.get() + i * floats; };
  parallel.loop(threads, 1, [&](int64_t first, int64_t last, int) {
    for (int64_t i = first; i < last; ++i) std::fill_n(own(i), floats, 1.0f);
  });

  // Small parts several times, so that a run is long beside waking the threads.
  const int64_t rounds = std::max<int64_t>((int64_t{4} << 20) / part, 1);
  const double touched = static_cast<double>(part * threads * rounds);
  const auto read = use_kernels() ? table().read_line : read_scalar;
  std::atomic<float> kept{0};
  const auto copy_by = [&](void (*copy)(int64_t, const float*, float*)) {
    return best_rate(touched, threads, parallel, [&](int64_t i) {
      for (int64_t r = 0; r < rounds; ++r) copy(half, own(i), own(i) + half);
    });
  };
  Bandwidth found;
  found.read = best_rate(touched, threads, parallel, [&](int64_t i) {
    float sum = 0;
    for (int64_t r = 0; r < rounds; ++r) sum += read(floats, own(i));
    kept.store(sum, std::memory_order_relaxed);
  });
  found.copy = copy_by(copy_plain);
  if (use_kernels()) found.copy = std::max(found.copy, copy_by(table().copy_past_caches));
  return found;
}

const char* name(MemoryLevel level) noexcept {
  return level == MemoryLevel::second ? "L2" : level == MemoryLevel::third ? "L3" : "memory";
}

MemoryLevel level_of(double bytes, int threads, const cpu::Caches& caches) {
  if (bytes <= static_cast<double>(cpu::capacity(caches.second, threads)))
    return MemoryLevel::second;
  return bytes <= static_cast<double>(cpu::capacity(caches.third, threads)) ? MemoryLevel::third
                                                                            : MemoryLevel::memory;
}

int64_t sample_of(MemoryLevel level, int threads, const cpu::Caches& caches) {
  const int64_t second = cpu::capacity(caches.second, threads),
                third = cpu::capacity(caches.third, threads);
  if (level == MemoryLevel::second) return second / 2;
  // Not so few that the second caches have a part of them.
  if (level == MemoryLevel::third) return std::max(third / 2, std::min(4 * second, third / 4 * 3));
  return std::clamp(4 * std::max(second, third), int64_t{64} << 20, int64_t{1} << 30);
}

}  // namespace attn::kernels
