// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/kernels/rope.hpp"
#include "core/kernels/simd.hpp"

namespace attn::kernels::simd {

// rows of n components, row i with the angles at cos + i * r/2; see reference/rope.hpp. y != x.
// The loop over pairs is one that compilers make vectors of: loads of even and odd lanes.
template <class Arch>
void rope_rows(int64_t rows, int64_t n, int64_t r, const float* __restrict x, int64_t x_row,
               const float* __restrict cos, const float* __restrict sin, float sign,
               float* __restrict y, int64_t y_row) {
  const int64_t half = r / 2;
  for (int64_t k = 0; k < rows; ++k) {
    for (int64_t i = 0; i < half; ++i) {
      const float a = x[2 * i], b = x[2 * i + 1], s = sign * sin[i];
      y[2 * i] = a * cos[i] - b * s;
      y[2 * i + 1] = a * s + b * cos[i];
    }
    for (int64_t i = r; i < n; ++i) y[i] = x[i];
    x += x_row, y += y_row, cos += half, sin += half;
  }
}

}  // namespace attn::kernels::simd
