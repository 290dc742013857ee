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
#define ATTN_KIND(name, formula) \
  case BinaryKind::name:         \
    return binary_lines<Arch>(n, a, a_step, b, b_step, y, [](float p, float q) { return formula; });
    ATTN_BINARY_KINDS(ATTN_KIND)
#undef ATTN_KIND
  }
}

// A block of 4 x 4 numbers, rows to columns.
template <class Arch>
ATTN_INLINE void transpose4(const float* x, int64_t x_row, float* y, int64_t y_row) {
  typedef float V __attribute__((vector_size(16), aligned(4), may_alias));
  const auto row = [&](int64_t r) { return *reinterpret_cast<const V*>(x + r * x_row); };
  const auto put = [&](int64_t c, V v) { *reinterpret_cast<V*>(y + c * y_row) = v; };
  const V a = row(0), b = row(1), c = row(2), d = row(3);
  const V ab0 = __builtin_shufflevector(a, b, 0, 4, 1, 5);
  const V ab1 = __builtin_shufflevector(a, b, 2, 6, 3, 7);
  const V cd0 = __builtin_shufflevector(c, d, 0, 4, 1, 5);
  const V cd1 = __builtin_shufflevector(c, d, 2, 6, 3, 7);
  put(0, __builtin_shufflevector(ab0, cd0, 0, 1, 4, 5));
  put(1, __builtin_shufflevector(ab0, cd0, 2, 3, 6, 7));
  put(2, __builtin_shufflevector(ab1, cd1, 0, 1, 4, 5));
  put(3, __builtin_shufflevector(ab1, cd1, 2, 3, 6, 7));
}

template <class Arch>
void transpose(int64_t rows, int64_t columns, const float* __restrict x, int64_t x_row,
               float* __restrict y, int64_t y_row) {
  int64_t r = 0;
  for (; r + 4 <= rows; r += 4) {
    int64_t c = 0;
    for (; c + 4 <= columns; c += 4)
      transpose4<Arch>(x + r * x_row + c, x_row, y + c * y_row + r, y_row);
    for (; c < columns; ++c)
      for (int64_t k = 0; k < 4; ++k) y[c * y_row + r + k] = x[(r + k) * x_row + c];
  }
  for (; r < rows; ++r)
    for (int64_t c = 0; c < columns; ++c) y[c * y_row + r] = x[r * x_row + c];
}

}  // namespace attn::kernels::simd
