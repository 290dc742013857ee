// SPDX-License-Identifier: Apache-2.0
//
// Products of bf16.hpp by vdpbf16ps, which adds the products of a pair to each of 16 sums: twice the operations of a
// multiply-add. 6 x 4 vectors of C stay in registers, as in micro.inl.hpp; groups of 16 rows are cut into 6, 5 and 5.
#pragma once

#include "core/kernels/bf16_pack.inl.hpp"

namespace attn::kernels::simd {
namespace {

constexpr int kDotVectors = 4, kDotRows = 6;
constexpr int64_t kDotPairs = kBf16Step / 2;  // of a row in one step
constexpr int64_t kDotAhead = 8;              // rows of B that are asked for ahead

ATTN_INLINE __m512bh as_pairs(__m512i x) { return reinterpret_cast<__m512bh>(x); }

// R rows of a group from row `a` on, and the last columns of C panels of B.
template <int R, int C>
__attribute__((noinline)) void dot_tile(const Bf16Block& g, const uint16_t* a, const uint32_t* b,
                                        float* c, const float* bias, int64_t columns) {
  const auto lanes = [&](int j) { return first_lanes(columns - 16 * j); };
  __m512 sum[R][C];
  ATTN_UNROLL
  for (int j = 0; j < C; ++j) {
    const __m512 first =
        bias == nullptr ? _mm512_setzero_ps() : _mm512_maskz_loadu_ps(lanes(j), bias + 16 * j);
    ATTN_UNROLL
    for (int i = 0; i < R; ++i) {
      __builtin_prefetch(c + i * g.c_row + 16 * j, 1);
      sum[i][j] = first;
    }
  }
  for (int64_t step = 0; step < g.k; step += kBf16Step, a += kBf16Rows * kBf16Step) {
    for (int64_t p = 0; p < kDotPairs; ++p, b += kBf16Columns) {
      __m512bh row[C];
      ATTN_UNROLL
      for (int j = 0; j < C; ++j) {
        __builtin_prefetch(b + j * g.b_panel + kDotAhead * kBf16Columns);
        row[j] = as_pairs(_mm512_loadu_si512(b + j * g.b_panel));
      }
      ATTN_UNROLL
      for (int i = 0; i < R; ++i) {
        int32_t pair = 0;
        __builtin_memcpy(&pair, a + i * kBf16Step + 2 * p, sizeof pair);
        const __m512bh x = as_pairs(_mm512_set1_epi32(pair));
        ATTN_UNROLL
        for (int j = 0; j < C; ++j) sum[i][j] = _mm512_dpbf16_ps(sum[i][j], x, row[j]);
      }
    }
  }
  ATTN_UNROLL
  for (int i = 0; i < R; ++i) {
    ATTN_UNROLL
    for (int j = 0; j < C; ++j) {
      float* to = c + i * g.c_row + 16 * j;
      if (g.accumulate) sum[i][j] = _mm512_add_ps(sum[i][j], _mm512_maskz_loadu_ps(lanes(j), to));
      _mm512_mask_storeu_ps(to, lanes(j), sum[i][j]);
    }
  }
}

// Up to 6 rows, at most 4 panels.
template <int R, int C>
ATTN_INLINE void dot_rows(const Bf16Block& g, int64_t rows, const uint16_t* a, const uint32_t* b,
                          float* c, const float* bias, int64_t columns) {
  if (rows == R) return dot_tile<R, C>(g, a, b, c, bias, columns);
  if constexpr (R > 1) dot_rows<R - 1, C>(g, rows, a, b, c, bias, columns);
}
template <int C>
ATTN_INLINE void dot_columns(const Bf16Block& g, int64_t panels, int64_t rows, const uint16_t* a,
                             const uint32_t* b, float* c, const float* bias, int64_t columns) {
  if (panels == C) return dot_rows<kDotRows, C>(g, rows, a, b, c, bias, columns);
  if constexpr (C > 1) dot_columns<C - 1>(g, panels, rows, a, b, c, bias, columns);
}

void dot_block(const Bf16Block& g) {
  constexpr int64_t kPart = kDotVectors * kBf16Columns;
  for (int64_t j = 0; j < g.n; j += kPart) {
    const int64_t columns = g.n - j < kPart ? g.n - j : kPart;
    const uint32_t* b = g.b + j / kBf16Columns * g.b_panel;
    const float* bias = g.bias == nullptr ? nullptr : g.bias + j;
    for (int64_t i = 0; i < g.m;) {
      // The group's rows in parts of nearly the same size.
      const int64_t in_group = i % kBf16Rows, room = kBf16Rows - in_group;
      const int64_t left = g.m - i < room ? g.m - i : room;
      const int64_t parts = (left + kDotRows - 1) / kDotRows, rows = (left + parts - 1) / parts;
      dot_columns<kDotVectors>(g, (columns + kBf16Columns - 1) / kBf16Columns, rows,
                               g.a + i / kBf16Rows * g.a_group + in_group * kBf16Step, b,
                               g.c + i * g.c_row + j, bias, columns);
      i += rows;
    }
  }
}

double dot_chains(int64_t rounds) {
  constexpr int kChains = 12, kRound = 32;  // about the operations of a round of tiles
  __m512 chain[kChains];
  for (__m512& c : chain) c = _mm512_setzero_ps();
  __m512i one = _mm512_set1_epi32(0x00010001);  // the least numbers: sums stay 0
  __asm__ volatile("" : "+v"(one));
  for (int64_t r = 0; r < kRound * rounds; ++r) {
    ATTN_UNROLL
    for (int i = 0; i < kChains; ++i)
      chain[i] = _mm512_dpbf16_ps(chain[i], as_pairs(one), as_pairs(one));
  }
  for (__m512& c : chain) __asm__ volatile("" : "+v"(c));
  return 4.0 * 16 * kChains * kRound * static_cast<double>(rounds);
}

}  // namespace
}  // namespace attn::kernels::simd

namespace attn::kernels::tables {

extern constexpr Bf16Table bf16_dots = {"bfloat16 dot products", &simd::bf16_pack_row,
                                        &simd::bf16_pack_rows,   &simd::bf16_pack_pairs,
                                        &simd::dot_block,        &simd::dot_chains};

}  // namespace attn::kernels::tables
