// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/kernels/norm.inl.hpp"
#include "core/kernels/simd.hpp"
#include "core/kernels/softmax.hpp"

namespace attn::kernels::simd {

// v in the first `lanes` lanes, other behind them.
template <class Arch>
ATTN_INLINE Vec<Arch> lanes_or(Vec<Arch> v, int64_t lanes, float other) {
  if (lanes == kWidth<Arch>) return v;
  alignas(64) float t[16];
  for (float& x : t) x = other;
  store_first<Arch>(t, v, lanes);
  return Vec<Arch>::load_aligned(t);
}

template <class Arch>
void softmax_rows(int64_t rows, int64_t n, const float* x, int64_t x_row, float* y, int64_t y_row) {
  using V = Vec<Arch>;
  constexpr float kNone = -__builtin_inff();
  for (int64_t row = 0; row < rows; ++row, x += x_row, y += y_row) {
    V high(kNone);
    over_row<Arch>(n, x, [&](V v, int64_t, int64_t lanes) {
      high = max_of<Arch>(lanes_or<Arch>(v, lanes, kNone), high);  // NaN is passed over
    });
    const float max = max_lanes<Arch>(high);
    const V m(max == kNone ? 0.0f : max);
    V sum(0.0f);
    over_row<Arch>(n, x, [&](V v, int64_t i, int64_t lanes) {
      const V e = xsimd::exp(v - m);
      sum = sum + lanes_or<Arch>(e, lanes, 0.0f);
      store_some<Arch>(y + i, e, lanes);
    });
    const float total = sum_lanes<Arch>(sum);
    if (total == 0) {  // -infinity and nothing else: as if zeros
      for (int64_t i = 0; i < n; ++i) y[i] = 1.0f / static_cast<float>(n);
      continue;
    }
    const V inverse(1.0f / total);
    over_row<Arch>(
        n, y, [&](V v, int64_t i, int64_t lanes) { store_some<Arch>(y + i, v * inverse, lanes); });
  }
}

template <class Arch>
void softmax_row_vjp(int64_t n, const float* w, const float* dw, float* dx) {
  using V = Vec<Arch>;
  V sum(0.0f);
  over_row<Arch>(n, w, [&](V v, int64_t i, int64_t lanes) {
    sum = fma<Arch>(v, load_some<Arch>(dw + i, lanes), sum);
  });
  const V dot(sum_lanes<Arch>(sum));
  over_row<Arch>(n, w, [&](V v, int64_t i, int64_t lanes) {
    store_some<Arch>(dx + i, v * (load_some<Arch>(dw + i, lanes) - dot), lanes);
  });
}

}  // namespace attn::kernels::simd
