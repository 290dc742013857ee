// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/kernels/rope.hpp"
#include "core/kernels/simd.hpp"

namespace attn::kernels::simd {

// rows of heads, row i with the angles at cos + i * r/2; see reference/rope.hpp. y != x.
// The loops over pairs are ones that compilers make vectors of: of even and odd lanes, or of two halves.
template <class Arch>
void rope_rows(int64_t rows, const RopeRow& row, const float* __restrict x, int64_t x_row,
               const float* __restrict cos, const float* __restrict sin, float sign,
               float* __restrict y, int64_t y_row) {
  const int64_t half = row.r / 2, first = row.first, end = first + row.r;
  for (int64_t k = 0; k < rows; ++k) {
    for (int64_t i = 0; i < first; ++i) y[i] = x[i];
    const float* u = x + first;
    float* v = y + first;
    if (row.interleaved) {
      for (int64_t i = 0; i < half; ++i) {
        const float a = u[2 * i], b = u[2 * i + 1], s = sign * sin[i];
        v[2 * i] = a * cos[i] - b * s;
        v[2 * i + 1] = a * s + b * cos[i];
      }
    } else {
      for (int64_t i = 0; i < half; ++i) {
        const float a = u[i], b = u[half + i], s = sign * sin[i];
        v[i] = a * cos[i] - b * s;
        v[half + i] = a * s + b * cos[i];
      }
    }
    for (int64_t i = end; i < row.n; ++i) y[i] = x[i];
    x += x_row, y += y_row, cos += half, sin += half;
  }
}

}  // namespace attn::kernels::simd
