// SPDX-License-Identifier: Apache-2.0
//
// Rounding of operands into the layouts of bf16.hpp. Included by each file of products of bfloat16, with whose flags it is
// compiled.
#pragma once

#include <immintrin.h>

#include "core/kernels/bf16.hpp"
#include "core/kernels/simd.hpp"

namespace attn::kernels::simd {
namespace {  // nothing that the linker could take for another level

ATTN_INLINE __mmask16 first_lanes(int64_t n) {
  return static_cast<__mmask16>(n >= 16 ? 0xFFFFu : n <= 0 ? 0u : (1u << n) - 1u);
}
// 32 numbers as bfloat16: x the first 16.
ATTN_INLINE __m512i both_bf16(__m512 x, __m512 y) {
  return reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(y, x));
}
// Pairs of two rows.
ATTN_INLINE __m512i pairs_bf16(__m512 upper, __m512 lower) {
  const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24,
                                         8, 23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  return _mm512_permutexvar_epi16(order, both_bf16(upper, lower));
}

// A row of a group, from numbers side by side.
void bf16_pack_row(int64_t k, const float* a, float alpha, uint16_t* dst) {
  const __m512 factor = _mm512_set1_ps(alpha);
  for (int64_t p = 0; p < k; p += kBf16Step, dst += kBf16Rows * kBf16Step) {
    const __m512 x = _mm512_maskz_loadu_ps(first_lanes(k - p), a + p);
    const __m512 y = _mm512_maskz_loadu_ps(first_lanes(k - p - 16), a + p + 16);
    _mm512_storeu_si512(dst, both_bf16(_mm512_mul_ps(x, factor), _mm512_mul_ps(y, factor)));
  }
}

// 32 numbers that lie `step` apart, zeros behind the first n.
ATTN_INLINE __m512i gathered_bf16(const float* x, int64_t step, int64_t n) {
  alignas(64) float line[kBf16Step] = {};
  for (int64_t i = 0; i < kBf16Step && i < n; ++i) line[i] = x[i * step];
  return both_bf16(_mm512_load_ps(line), _mm512_load_ps(line + 16));
}

void bf16_pack_rows(int64_t m, int64_t k, const float* a, int64_t a_row, int64_t a_col, float alpha,
                    uint16_t* dst) {
  const int64_t depth = bf16_depth(k);
  for (int64_t i = 0; i < kBf16Rows; ++i) {
    uint16_t* to = dst + i * kBf16Step;
    if (i < m && a_col == 1) {
      bf16_pack_row(k, a + i * a_row, alpha, to);
      continue;
    }
    for (int64_t p = 0; p < depth; p += kBf16Step) {
      alignas(64) float line[kBf16Step] = {};
      for (int64_t j = 0; i < m && j < kBf16Step && p + j < k; ++j)
        line[j] = alpha * a[i * a_row + (p + j) * a_col];
      _mm512_storeu_si512(to + p * kBf16Rows, gathered_bf16(line, 1, kBf16Step));
    }
  }
}

// 16 x 16 words, transposed in place.
ATTN_INLINE void transpose_words(__m512i (&r)[16]) {
  __m512i t[16];
  ATTN_UNROLL
  for (int i = 0; i < 8; ++i) {
    t[2 * i] = _mm512_unpacklo_epi32(r[2 * i], r[2 * i + 1]);
    t[2 * i + 1] = _mm512_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
  }
  ATTN_UNROLL
  for (int i = 0; i < 4; ++i) {
    r[4 * i] = _mm512_unpacklo_epi64(t[4 * i], t[4 * i + 2]);
    r[4 * i + 1] = _mm512_unpackhi_epi64(t[4 * i], t[4 * i + 2]);
    r[4 * i + 2] = _mm512_unpacklo_epi64(t[4 * i + 1], t[4 * i + 3]);
    r[4 * i + 3] = _mm512_unpackhi_epi64(t[4 * i + 1], t[4 * i + 3]);
  }
  ATTN_UNROLL
  for (int i = 0; i < 4; ++i) {
    t[i] = _mm512_shuffle_i32x4(r[i], r[4 + i], 0x88);
    t[4 + i] = _mm512_shuffle_i32x4(r[i], r[4 + i], 0xDD);
    t[8 + i] = _mm512_shuffle_i32x4(r[8 + i], r[12 + i], 0x88);
    t[12 + i] = _mm512_shuffle_i32x4(r[8 + i], r[12 + i], 0xDD);
  }
  ATTN_UNROLL
  for (int i = 0; i < 4; ++i) {
    r[i] = _mm512_shuffle_i32x4(t[i], t[8 + i], 0x88);
    r[8 + i] = _mm512_shuffle_i32x4(t[i], t[8 + i], 0xDD);
    r[4 + i] = _mm512_shuffle_i32x4(t[4 + i], t[12 + i], 0x88);
    r[12 + i] = _mm512_shuffle_i32x4(t[4 + i], t[12 + i], 0xDD);
  }
}

void bf16_pack_pairs(int64_t k, int64_t columns, const float* b, int64_t b_row, int64_t b_col,
                     uint32_t* dst) {
  const int64_t depth = bf16_depth(k);
  if (b_col == 1) {
    const __mmask16 lanes = first_lanes(columns);
    for (int64_t p = 0; p < depth; p += 2, dst += kBf16Columns) {
      const __m512 upper = _mm512_maskz_loadu_ps(p < k ? lanes : __mmask16{0}, b + p * b_row);
      const __m512 lower =
          _mm512_maskz_loadu_ps(p + 1 < k ? lanes : __mmask16{0}, b + (p + 1) * b_row);
      _mm512_storeu_si512(dst, pairs_bf16(upper, lower));
    }
    return;
  }
  for (int64_t p = 0; p < depth; p += kBf16Step, dst += kBf16Columns * kBf16Step / 2) {
    __m512i r[16];
    for (int64_t j = 0; j < kBf16Columns; ++j) {
      const float* src = b + j * b_col + p * b_row;
      if (j >= columns) {
        r[j] = _mm512_setzero_si512();
      } else if (b_row == 1) {
        r[j] = both_bf16(_mm512_maskz_loadu_ps(first_lanes(k - p), src),
                         _mm512_maskz_loadu_ps(first_lanes(k - p - 16), src + 16));
      } else {
        r[j] = gathered_bf16(src, b_row, k - p);
      }
    }
    transpose_words(r);
    ATTN_UNROLL
    for (int i = 0; i < 16; ++i) _mm512_storeu_si512(dst + i * kBf16Columns, r[i]);
  }
}

}  // namespace
}  // namespace attn::kernels::simd
