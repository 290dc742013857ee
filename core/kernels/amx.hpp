// SPDX-License-Identifier: Apache-2.0
//
// Kernels for the matrix tiles of AMX: products whose operands are rounded to bfloat16, with sums in float32. They stand
// beside the table of the level avx512, for calls that ask for such products (Parallel::bfloat16). [any-thread]
//
// Layouts. k is filled up with zeros to whole steps of kAmxDepth.
// Rows    of A: groups of 16 rows one after the other (zeros behind the last row); in a group, step by step, 16 x 32
//         numbers, row by row.
// Pairs   of B: panels of 16 columns one after the other (zeros behind the last column); in a panel a row of 16 pairs
//         for every two rows of B: the upper in the low half. What a step needs is 16 rows: 1 KB, as of A.
#pragma once

#include <cstdint>

#include "core/kernels/attention_tile.hpp"

namespace attn::kernels {

inline constexpr int64_t kAmxDepth = 32;  // of k in one step
inline constexpr int64_t kAmxRows = 16, kAmxColumns = 16;

[[nodiscard]] constexpr int64_t amx_depth(int64_t k) {
  return (k + kAmxDepth - 1) / kAmxDepth * kAmxDepth;
}
// Numbers of a group of rows, pairs of a panel.
[[nodiscard]] constexpr int64_t amx_group_size(int64_t k) { return kAmxRows * amx_depth(k); }
[[nodiscard]] constexpr int64_t amx_panel_size(int64_t k) { return kAmxColumns * amx_depth(k) / 2; }

// Groups of A times panels of B, over a part of k.
struct AmxBlock {
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

struct AmxTable {
  // One row of a group, times alpha; dst: its first number.
  void (*pack_row)(int64_t k, const float* a, float alpha, uint16_t* dst);
  // One group of at most 16 rows of A, times alpha.
  void (*pack_rows)(int64_t m, int64_t k, const float* a, int64_t a_row, int64_t a_col, float alpha,
                    uint16_t* dst);
  // One panel of at most 16 columns of B.
  void (*pack_pairs)(int64_t k, int64_t columns, const float* b, int64_t b_row, int64_t b_col,
                     uint32_t* dst);
  void (*block)(const AmxBlock& block);
  double (*chains)(int64_t rounds);  // products of tiles and nothing else; returns their number
};

// nullptr: not on this machine, or not at the level in use.
[[nodiscard]] const AmxTable* amx();

}  // namespace attn::kernels
