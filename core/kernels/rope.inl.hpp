// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/kernels/rope.hpp"
#include "core/kernels/simd.hpp"

namespace attn::kernels::simd {

// Rows of heads, row i with the angles at cos + i * r/2, times `sign`; see reference/rope.hpp. y != x.
// Of neighbours the loop over pairs is one that compilers make vectors of: loads of even and odd lanes.
template <class Arch>
void rope_rows(const RopeRow& row, int64_t rows, const float* __restrict x, int64_t x_row,
               const float* __restrict cos, const float* __restrict sin, float sign,
               float* __restrict y, int64_t y_row) {
  constexpr int64_t w = kWidth<Arch>;
  const int64_t half = row.r / 2;
  for (int64_t k = 0; k < rows; ++k, x += x_row, y += y_row, cos += half, sin += half) {
    for (int64_t i = 0; i < row.first; ++i) y[i] = x[i];
    const float* __restrict from = x + row.first;
    float* __restrict to = y + row.first;
    int64_t i = 0;
    if (row.interleaved) {
      for (; i < half; ++i) {
        const float a = from[2 * i], b = from[2 * i + 1], s = sign * sin[i];
        to[2 * i] = a * cos[i] - b * s;
        to[2 * i + 1] = a * s + b * cos[i];
      }
    } else {
      for (; i + w <= half; i += w) {
        const Vec<Arch> a = load<Arch>(from + i), b = load<Arch>(from + half + i),
                        c = load<Arch>(cos + i), s = sign * load<Arch>(sin + i);
        store<Arch>(to + i, a * c - b * s);
        store<Arch>(to + half + i, a * s + b * c);
      }
      for (; i < half; ++i) {
        const float a = from[i], b = from[half + i], s = sign * sin[i];
        to[i] = a * cos[i] - b * s;
        to[half + i] = a * s + b * cos[i];
      }
    }
    for (i = row.first + row.r; i < row.n; ++i) y[i] = x[i];
  }
}

}  // namespace attn::kernels::simd
