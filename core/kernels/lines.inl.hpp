// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/kernels/lines.hpp"
#include "core/kernels/softmax.inl.hpp"

namespace attn::kernels::simd {

template <class Arch>
void exp_line(int64_t n, const float* x, float* y) {
  over_row<Arch>(n, x, [&](Vec<Arch> v, int64_t i, int64_t lanes) {
    store_some<Arch>(y + i, xsimd::exp(v), lanes);
  });
}

template <class Arch>
void log_sum_exp_rows(int64_t rows, int64_t n, const float* x, int64_t x_row, float* out) {
  using V = Vec<Arch>;
  constexpr float kNone = -__builtin_inff();
  for (int64_t r = 0; r < rows; ++r, x += x_row) {
    V high(kNone);
    over_row<Arch>(n, x, [&](V v, int64_t, int64_t lanes) {
      high = max_of<Arch>(lanes_or<Arch>(v, lanes, kNone), high);  // NaN is passed over
    });
    const float top = max_lanes<Arch>(high);
    const V m(top == kNone ? 0.0f
                           : top);  // -infinity and nothing else: a sum of 0, whose logarithm it is
    out[r] = top + __builtin_logf(sum_row<Arch>(n, x, [m](V v) { return xsimd::exp(v - m); }));
  }
}

// Sixteen sums in double, so that the order of additions is the same at every level.
template <class Arch, class F>
ATTN_INLINE double sum_in_double(int64_t n, F f) {
  double sums[16] = {};
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) {
    for (int64_t j = 0; j < 16; ++j) sums[j] += f(i + j);
  }
  for (int64_t j = 0; i + j < n; ++j) sums[j] += f(i + j);
  for (int64_t half = 8; half > 0; half /= 2) {
    for (int64_t j = 0; j < half; ++j) sums[j] += sums[j + half];
  }
  return sums[0];
}

template <class Arch>
double sum_line(int64_t n, const float* x) {
  return sum_in_double<Arch>(n, [x](int64_t i) { return static_cast<double>(x[i]); });
}

template <class Arch>
double dot_line(int64_t n, const float* x, const float* y) {
  return sum_in_double<Arch>(
      n, [x, y](int64_t i) { return static_cast<double>(x[i]) * static_cast<double>(y[i]); });
}

}  // namespace attn::kernels::simd
