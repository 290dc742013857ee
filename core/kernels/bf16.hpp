// SPDX-License-Identifier: Apache-2.0
//
// Products whose operands are rounded to bfloat16, with sums in float32, for calls that ask for them
// (Parallel::bfloat16): by the matrix tiles of AMX, or by dot products of pairs (vdpbf16ps). Their kernels stand beside the
// table of the level avx512. [any-thread]
//
// Layouts. k is filled up with zeros to whole steps of kBf16Step.
// Rows    of A: groups of 16 rows one after the other (zeros behind the last row); in a group, step by step, 16 x 32
//         numbers, row by row.
// Pairs   of B: panels of 16 columns one after the other (zeros behind the last column); in a panel a row of 16 pairs
//         for every two rows of B: the upper in the low half. What a step needs is 16 rows: 1 KB, as of A.
#pragma once

#include <cstdint>
#include <span>

#include "core/kernels/attention_tile.hpp"

namespace attn::kernels {

inline constexpr int64_t kBf16Step = 32;  // of k in one step
inline constexpr int64_t kBf16Rows = 16, kBf16Columns = 16;

[[nodiscard]] constexpr int64_t bf16_depth(int64_t k) {
  return (k + kBf16Step - 1) / kBf16Step * kBf16Step;
}
// Numbers of a group of rows, pairs of a panel.
[[nodiscard]] constexpr int64_t bf16_group_size(int64_t k) { return kBf16Rows * bf16_depth(k); }
[[nodiscard]] constexpr int64_t bf16_panel_size(int64_t k) {
  return kBf16Columns * bf16_depth(k) / 2;
}

// Groups of A times panels of B, over a part of k.
struct Bf16Block {
  int64_t m, n, k;    // k: whole steps
  const uint16_t* a;  // of the first step
  int64_t a_group;    // numbers from a group to the next
  const uint32_t* b;
  int64_t b_panel;  // pairs from a panel to the next
  float* c;
  int64_t c_row;
  const float* bias = nullptr;  // (n), added; nullptr: none
  bool accumulate = false;      // adds to what c holds
};

struct Bf16Table {
  const char* way;  // for those who look: "bfloat16 tiles"
  // One row of a group, times alpha; dst: its first number.
  void (*pack_row)(int64_t k, const float* a, float alpha, uint16_t* dst);
  // One group of at most 16 rows of A, times alpha.
  void (*pack_rows)(int64_t m, int64_t k, const float* a, int64_t a_row, int64_t a_col, float alpha,
                    uint16_t* dst);
  // One panel of at most 16 columns of B.
  void (*pack_pairs)(int64_t k, int64_t columns, const float* b, int64_t b_row, int64_t b_col,
                     uint32_t* dst);
  void (*block)(const Bf16Block& block);
  double (*chains)(int64_t rounds);  // products without memory; returns the number of operations
};

// Those that this processor has, tiles first.
[[nodiscard]] std::span<const Bf16Table* const> bf16_tables();
// That of calls; nullptr: none is worth its rounding, or the level in use is not avx512. Dot products have half the speed of
// multiply-adds on some processors and twice as much on others: the first question measures it, a tenth of a millisecond.
[[nodiscard]] const Bf16Table* bf16_table();
// For tests: another of them from now on; not while a call runs.
void set_bf16_table(const Bf16Table* table);

}  // namespace attn::kernels
