// SPDX-License-Identifier: Apache-2.0
//
// Products of bf16.hpp by the matrix tiles of AMX. Two by two tiles of C stay in registers while k goes by: four
// products for two tiles of A and two of B.
#pragma once

#include "core/kernels/bf16_pack.inl.hpp"

namespace attn::kernels::simd {
namespace {

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
    a += kBf16Rows * kBf16Step;
    b += kBf16Columns * kBf16Step / 2;
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
ATTN_INLINE void amx_tile(const Bf16Block& g, const uint16_t* a, const uint32_t* b, float* c,
                          const float* bias, int64_t rows, int64_t columns) {
  constexpr int64_t kLine = 16 * C;
  const int64_t steps = g.k / kBf16Step;
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

void amx_block(const Bf16Block& g) {
  const AmxTiles tiles;
  const int64_t passes = (g.m + 2 * kBf16Rows - 1) / (2 * kBf16Rows);
  const int64_t lines = g.k / 2;  // of 64 bytes, of a part of a panel
  for (int64_t j = 0; j < g.n; j += 2 * kBf16Columns) {
    const uint32_t* b = g.b + j / kBf16Columns * g.b_panel;
    const float* bias = g.bias == nullptr ? nullptr : g.bias + j;
    const int64_t columns = g.n - j < 32 ? g.n - j : 32;
    for (int64_t i = 0; i < g.m; i += 2 * kBf16Rows) {
      // The next two panels come while these two are used: they may lie far away.
      const int64_t pass = i / (2 * kBf16Rows);
      for (int64_t panel = 2; panel < 4 && j + panel * kBf16Columns < g.n; ++panel)
        for (int64_t l = lines * pass / passes; l < lines * (pass + 1) / passes; ++l)
          _mm_prefetch(reinterpret_cast<const char*>(b + panel * g.b_panel + 16 * l), _MM_HINT_T1);
      const uint16_t* a = g.a + i / kBf16Rows * g.a_group;
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
  return 4.0 * 2 * kBf16Rows * kBf16Columns * kBf16Step * static_cast<double>(rounds);
}

}  // namespace
}  // namespace attn::kernels::simd

namespace attn::kernels::tables {

extern constexpr Bf16Table bf16_tiles = {"bfloat16 tiles",      &simd::bf16_pack_row,
                                         &simd::bf16_pack_rows, &simd::bf16_pack_pairs,
                                         &simd::amx_block,      &simd::amx_chains};

}  // namespace attn::kernels::tables
