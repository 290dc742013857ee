// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/kernels/elementwise.hpp"
#include "core/kernels/simd.hpp"

namespace attn::kernels::simd {

// The steps are known in each branch, so that the compiler makes whole vectors of the loops.
template <class Arch, class F>
ATTN_INLINE void binary_lines(int64_t n, const float* a, int64_t a_step, const float* b,
                              int64_t b_step, float* __restrict y, F f) {
  if (a_step == 1 && b_step == 1) {
    for (int64_t i = 0; i < n; ++i) y[i] = f(a[i], b[i]);
  } else if (a_step == 1) {
    const float z = *b;
    for (int64_t i = 0; i < n; ++i) y[i] = f(a[i], z);
  } else if (b_step == 1) {
    const float z = *a;
    for (int64_t i = 0; i < n; ++i) y[i] = f(z, b[i]);
  } else {
    const float z = f(*a, *b);
    for (int64_t i = 0; i < n; ++i) y[i] = z;
  }
}

template <class Arch>
void binary(BinaryKind kind, int64_t n, const float* a, int64_t a_step, const float* b,
            int64_t b_step, float* y) {
  switch (kind) {
    case BinaryKind::add:
      binary_lines<Arch>(n, a, a_step, b, b_step, y, [](float p, float q) { return p + q; });
      break;
    case BinaryKind::sub:
      binary_lines<Arch>(n, a, a_step, b, b_step, y, [](float p, float q) { return p - q; });
      break;
    case BinaryKind::mul:
      binary_lines<Arch>(n, a, a_step, b, b_step, y, [](float p, float q) { return p * q; });
      break;
    case BinaryKind::div:
      binary_lines<Arch>(n, a, a_step, b, b_step, y, [](float p, float q) { return p / q; });
      break;
    case BinaryKind::maximum:
      binary_lines<Arch>(n, a, a_step, b, b_step, y,
                         [](float p, float q) { return p >= q || p != p ? p : q; });
      break;
  }
}

// Eight rows of x at a time: every line of y gets eight neighbours.
template <class Arch>
void transpose(int64_t rows, int64_t columns, const float* __restrict x, int64_t x_row,
               float* __restrict y, int64_t y_row) {
  int64_t r = 0;
  for (; r + 8 <= rows; r += 8)
    for (int64_t c = 0; c < columns; ++c)
      for (int64_t k = 0; k < 8; ++k) y[c * y_row + r + k] = x[(r + k) * x_row + c];
  for (; r < rows; ++r)
    for (int64_t c = 0; c < columns; ++c) y[c * y_row + r] = x[r * x_row + c];
}

}  // namespace attn::kernels::simd
