// SPDX-License-Identifier: Apache-2.0
#include "core/kernels/peak.hpp"

#include <algorithm>
#include <chrono>
#include <string>

#include "core/error/error.hpp"
#include "core/kernels/bf16.hpp"
#include "core/kernels/gemm_bf16.hpp"
#include "core/kernels/table.hpp"
#include "core/threads/pool.hpp"

namespace attn::kernels {
namespace {

double scalar_chains(int64_t rounds) {
  double chain[8] = {1, 2, 3, 4, 5, 6, 7, 8};
  for (int64_t r = 0; r < rounds; ++r) {
    for (double& c : chain) c = c * 0.999999 + 1e-7;
  }
  double total = 0;
  for (const double c : chain) total += c;
  return 16.0 * static_cast<double>(rounds) + (total > 1e30 ? 1.0 : 0.0);
}

}  // namespace

double fma_peak(int threads, Parallel& parallel) {
  if (threads < 1) {
    throw InvalidArgument(
        "fma_peak: threads=" + std::to_string(threads) +
        " is not possible; expected at least 1. Pass the number of threads to measure");
  }
  threads = std::min(threads, parallel.concurrency());
  const bool tiles = uses_bf16(parallel);
  double (*chains)(int64_t) = tiles           ? bf16_table()->chains
                              : use_kernels() ? table().fma_chains
                                              : scalar_chains;
  const int64_t rounds = tiles ? 8'000 : 300'000;
  // With all threads at work several pieces for each, so that one that is late does not count fully.
  const int pieces = threads > 1 && threads == parallel.concurrency() ? 4 * threads : threads;
  double best = 0;
  for (int repeat = 0; repeat < 12; ++repeat) {
    const auto begin = std::chrono::steady_clock::now();
    parallel.loop(pieces, 1, [&](int64_t first, int64_t last, int) {
      for (int64_t i = first; i < last; ++i) chains(rounds);
    });
    const std::chrono::duration<double> time = std::chrono::steady_clock::now() - begin;
    const double operations = chains(1) * static_cast<double>(rounds) * pieces;
    best = std::max(best, operations / time.count() * 1e-9);
  }
  return best;
}

double fma_peak(int threads) {
  threads::PoolParallel parallel;
  return fma_peak(threads, parallel);
}

}  // namespace attn::kernels
