// SPDX-License-Identifier: Apache-2.0
#include "core/kernels/bf16.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <vector>

#include "core/cpu/features.hpp"
#include "core/cpu/level.hpp"
#include "core/kernels/table.hpp"

namespace attn::kernels {
namespace tables {
extern const Bf16Table bf16_tiles, bf16_dots;  // isa/bf16_tiles.cpp, isa/bf16_dots.cpp
}
namespace {

std::vector<const Bf16Table*> find_tables() {
  std::vector<const Bf16Table*> found;
#if defined(__x86_64__)
  if (cpu::has_amx()) found.push_back(&tables::bf16_tiles);
  if (cpu::has_avx512_bf16()) found.push_back(&tables::bf16_dots);
#endif
  return found;
}

// Operations a second of something that returns their number: the best of a few short runs.
template <class F>
double rate(F&& operations) {
  double best = 0;
  for (int i = 0; i < 12; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    const double count = operations();
    const std::chrono::duration<double> time = std::chrono::steady_clock::now() - begin;
    best = std::max(best, count / time.count());
  }
  return best;
}

#if defined(__x86_64__)
// Whether products are so much faster than those of float32 that rounding their operands costs less.
bool pays(const Bf16Table& way) {
  constexpr double kGain = 1.3;
  return rate([&] { return way.chains(16); }) >
         kGain * rate([] { return tables::avx512.fma_chains(1000); });
}
#endif

const Bf16Table* best_table() {
#if defined(__x86_64__)
  for (const Bf16Table* way : bf16_tables())
    if (way == &tables::bf16_tiles || pays(*way)) return way;
#endif
  return nullptr;
}

std::atomic<const Bf16Table*>& current() {
  static std::atomic<const Bf16Table*> table{best_table()};
  return table;
}

}  // namespace

std::span<const Bf16Table* const> bf16_tables() {
  static const std::vector<const Bf16Table*> tables = find_tables();
  return tables;
}

const Bf16Table* bf16_table() {
#if defined(__x86_64__)
  if (cpu::level() == cpu::Level::avx512) return current().load(std::memory_order_relaxed);
#endif
  return nullptr;
}

void set_bf16_table(const Bf16Table* table) { current().store(table, std::memory_order_relaxed); }

}  // namespace attn::kernels
