// SPDX-License-Identifier: Apache-2.0
//
// See amx.hpp. Included by the one file that is compiled for AMX. Two by two tiles of C stay in registers while k goes by:
// four products for two tiles of A and two of B.
#pragma once

#include <immintrin.h>

#include "core/kernels/amx.hpp"
#include "core/kernels/simd.hpp"

namespace attn::kernels::simd {
namespace {  // nothing that the linker could take for another level

// Of all tiles: 16 rows of 64 bytes.
struct AmxShapes {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
alignas(64) constexpr AmxShapes kAmxShapes{};

// The tiles of a thread, from here to the end of the scope.
class AmxTiles {
 public:
  AmxTiles() { _tile_loadconfig(&kAmxShapes); }
  ~AmxTiles() { _tile_release(); }
  AmxTiles(const AmxTiles&) = delete;
  AmxTiles& operator=(const AmxTiles&) = delete;
};

// The instructions of tiles do not tell every compiler that they read memory: what is written before is there now.
ATTN_INLINE void amx_written() { __asm__ volatile("" ::: "memory"); }

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
void amx_pack_row(int64_t k, const float* a, float alpha, uint16_t* dst) {
  const __m512 factor = _mm512_set1_ps(alpha);
  for (int64_t p = 0; p < k; p += kAmxDepth, dst += kAmxRows * kAmxDepth) {
    const __m512 x = _mm512_maskz_loadu_ps(first_lanes(k - p), a + p);
    const __m512 y = _mm512_maskz_loadu_ps(first_lanes(k - p - 16), a + p + 16);
    _mm512_storeu_si512(dst, both_bf16(_mm512_mul_ps(x, factor), _mm512_mul_ps(y, factor)));
  }
}

// 32 numbers that lie `step` apart, zeros behind the first n.
ATTN_INLINE __m512i gathered_bf16(const float* x, int64_t step, int64_t n) {
  alignas(64) float line[kAmxDepth] = {};
  for (int64_t i = 0; i < kAmxDepth && i < n; ++i) line[i] = x[i * step];
  return both_bf16(_mm512_load_ps(line), _mm512_load_ps(line + 16));
}

void amx_pack_rows(int64_t m, int64_t k, const float* a, int64_t a_row, int64_t a_col, float alpha,
                   uint16_t* dst) {
  const int64_t depth = amx_depth(k);
  for (int64_t i = 0; i < kAmxRows; ++i) {
    uint16_t* to = dst + i * kAmxDepth;
    if (i < m && a_col == 1) {
      amx_pack_row(k, a + i * a_row, alpha, to);
      continue;
    }
    for (int64_t p = 0; p < depth; p += kAmxDepth) {
      alignas(64) float line[kAmxDepth] = {};
      for (int64_t j = 0; i < m && j < kAmxDepth && p + j < k; ++j)
        line[j] = alpha * a[i * a_row + (p + j) * a_col];
      _mm512_storeu_si512(to + p * kAmxRows, gathered_bf16(line, 1, kAmxDepth));
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

void amx_pack_pairs(int64_t k, int64_t columns, const float* b, int64_t b_row, int64_t b_col,
                    uint32_t* dst) {
  const int64_t depth = amx_depth(k);
  if (b_col == 1) {
    const __mmask16 lanes = first_lanes(columns);
    for (int64_t p = 0; p < depth; p += 2, dst += kAmxColumns) {
      const __m512 upper = _mm512_maskz_loadu_ps(p < k ? lanes : __mmask16{0}, b + p * b_row);
      const __m512 lower =
          _mm512_maskz_loadu_ps(p + 1 < k ? lanes : __mmask16{0}, b + (p + 1) * b_row);
      _mm512_storeu_si512(dst, pairs_bf16(upper, lower));
    }
    return;
  }
  for (int64_t p = 0; p < depth; p += kAmxDepth, dst += kAmxColumns * kAmxDepth / 2) {
    __m512i r[16];
    for (int64_t j = 0; j < kAmxColumns; ++j) {
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
    for (int i = 0; i < 16; ++i) _mm512_storeu_si512(dst + i * kAmxColumns, r[i]);
  }
}

// Tiles 0 to 3 += A (4, 5) times B (6, 7) over `steps` steps.
template <int R, int C>
ATTN_INLINE void amx_multiply(int64_t steps, const uint16_t* a, int64_t a_group, const uint32_t* b,
                              int64_t b_panel) {
  for (int64_t s = 0; s < steps; ++s) {
    _tile_loadd(4, a, 64);
    _tile_loadd(6, b, 64);
    _tile_dpbf16ps(0, 4, 6);
    if constexpr (C == 2) {
      _tile_loadd(7, b + b_panel, 64);
      _tile_dpbf16ps(1, 4, 7);
    }
    if constexpr (R == 2) {
      _tile_loadd(5, a + a_group, 64);
      _tile_dpbf16ps(2, 5, 6);
      if constexpr (C == 2) _tile_dpbf16ps(3, 5, 7);
    }
    a += kAmxRows * kAmxDepth;
    b += kAmxColumns * kAmxDepth / 2;
  }
}
// Their first values, rows `row` numbers apart (0: one row for all), and their last.
template <int R, int C>
ATTN_INLINE void amx_load(const float* c, int64_t row) {
  const auto step = static_cast<size_t>(row) * sizeof(float);
  _tile_loadd(0, c, step);
  if constexpr (C == 2) _tile_loadd(1, c + 16, step);
  if constexpr (R == 2) _tile_loadd(2, c + 16 * row, step);
  if constexpr (R == 2 && C == 2) _tile_loadd(3, c + 16 * row + 16, step);
}
template <int R, int C>
ATTN_INLINE void amx_clear() {
  _tile_zero(0);
  if constexpr (C == 2) _tile_zero(1);
  if constexpr (R == 2) _tile_zero(2);
  if constexpr (R == 2 && C == 2) _tile_zero(3);
}
template <int R, int C>
ATTN_INLINE void amx_store(float* c, int64_t row) {
  const auto step = static_cast<size_t>(row) * sizeof(float);
  _tile_stored(0, c, step);
  if constexpr (C == 2) _tile_stored(1, c + 16, step);
  if constexpr (R == 2) _tile_stored(2, c + 16 * row, step);
  if constexpr (R == 2 && C == 2) _tile_stored(3, c + 16 * row + 16, step);
}

// rows x columns of C, at most 16 R x 16 C. Where C ends inside of a tile, by way of a copy.
template <int R, int C>
ATTN_INLINE void amx_tile(const AmxBlock& g, const uint16_t* a, const uint32_t* b, float* c,
                          const float* bias, int64_t rows, int64_t columns) {
  constexpr int64_t kLine = 16 * C;
  const int64_t steps = g.k / kAmxDepth;
  alignas(64) float copy[16 * R * kLine];
  const bool whole = rows == 16 * R && columns == kLine;
  const bool direct = whole && (bias == nullptr || !g.accumulate);
  // What is written below comes from far away, and arrives while the sums are made: an eighth of the time of a layer.
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < columns; j += 16) __builtin_prefetch(c + i * g.c_row + j, 1);
  if (!direct) {
    for (int64_t i = 0; i < 16 * R; ++i) {
      for (int64_t j = 0; j < kLine; j += 16) {
        const __mmask16 lanes = first_lanes(i < rows ? columns - j : 0);
        __m512 x = _mm512_setzero_ps();
        if (g.accumulate) x = _mm512_maskz_loadu_ps(lanes, c + i * g.c_row + j);
        if (bias != nullptr) x = _mm512_add_ps(x, _mm512_maskz_loadu_ps(lanes, bias + j));
        _mm512_store_ps(copy + i * kLine + j, x);
      }
    }
    amx_written();
    amx_load<R, C>(copy, kLine);
  } else if (g.accumulate) {
    amx_load<R, C>(c, g.c_row);
  } else if (bias != nullptr) {
    amx_load<R, C>(bias, 0);
  } else {
    amx_clear<R, C>();
  }
  amx_multiply<R, C>(steps, a, g.a_group, b, g.b_panel);
  if (whole) return amx_store<R, C>(c, g.c_row);
  amx_store<R, C>(copy, kLine);
  amx_written();
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < columns; j += 16)
      _mm512_mask_storeu_ps(c + i * g.c_row + j, first_lanes(columns - j),
                            _mm512_load_ps(copy + i * kLine + j));
}

void amx_block(const AmxBlock& g) {
  const AmxTiles tiles;
  const int64_t passes = (g.m + 2 * kAmxRows - 1) / (2 * kAmxRows);
  const int64_t lines = g.k / 2;  // of 64 bytes, of a part of a panel
  for (int64_t j = 0; j < g.n; j += 2 * kAmxColumns) {
    const uint32_t* b = g.b + j / kAmxColumns * g.b_panel;
    const float* bias = g.bias == nullptr ? nullptr : g.bias + j;
    const int64_t columns = g.n - j < 32 ? g.n - j : 32;
    for (int64_t i = 0; i < g.m; i += 2 * kAmxRows) {
      // The next two panels come while these two are used: they may lie far away.
      const int64_t pass = i / (2 * kAmxRows);
      for (int64_t panel = 2; panel < 4 && j + panel * kAmxColumns < g.n; ++panel)
        for (int64_t l = lines * pass / passes; l < lines * (pass + 1) / passes; ++l)
          _mm_prefetch(reinterpret_cast<const char*>(b + panel * g.b_panel + 16 * l), _MM_HINT_T1);
      const uint16_t* a = g.a + i / kAmxRows * g.a_group;
      float* c = g.c + i * g.c_row + j;
      const int64_t rows = g.m - i < 32 ? g.m - i : 32;
      if (rows > 16 && columns > 16) {
        amx_tile<2, 2>(g, a, b, c, bias, rows, columns);
      } else if (rows > 16) {
        amx_tile<2, 1>(g, a, b, c, bias, rows, columns);
      } else if (columns > 16) {
        amx_tile<1, 2>(g, a, b, c, bias, rows, columns);
      } else {
        amx_tile<1, 1>(g, a, b, c, bias, rows, columns);
      }
    }
  }
}

double amx_chains(int64_t rounds) {
  const AmxTiles tiles;
  _tile_zero(4);
  _tile_zero(6);
  amx_clear<2, 2>();
  for (int64_t r = 0; r < rounds; ++r) {
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 6);
    _tile_dpbf16ps(2, 4, 6);
    _tile_dpbf16ps(3, 4, 6);
  }
  return 4.0 * 2 * kAmxRows * kAmxColumns * kAmxDepth * static_cast<double>(rounds);
}

}  // namespace
}  // namespace attn::kernels::simd

namespace attn::kernels::tables {

extern constexpr AmxTable amx = {&simd::amx_pack_row, &simd::amx_pack_rows, &simd::amx_pack_pairs,
                                 &simd::amx_block, &simd::amx_chains};

}  // namespace attn::kernels::tables
