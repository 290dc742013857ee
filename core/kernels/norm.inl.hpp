// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/kernels/norm.hpp"
#include "core/kernels/simd.hpp"

namespace attn::kernels::simd {

// f(vector of x, index, lanes) over a row; lanes is the width but for the last, shorter vector.
template <class Arch, class F>
ATTN_INLINE void over_row(int64_t n, const float* x, F f) {
  constexpr int64_t w = kWidth<Arch>;
  int64_t i = 0;
  for (; i + w <= n; i += w) f(load<Arch>(x + i), i, w);
  if (i < n) f(load_first<Arch>(x + i, n - i), i, n - i);
}
template <class Arch>
ATTN_INLINE Vec<Arch> load_some(const float* p, int64_t lanes) {
  return lanes == kWidth<Arch> ? load<Arch>(p) : load_first<Arch>(p, lanes);
}
template <class Arch>
ATTN_INLINE void store_some(float* p, Vec<Arch> v, int64_t lanes) {
  if (lanes == kWidth<Arch>)
    store<Arch>(p, v);
  else
    store_first<Arch>(p, v, lanes);
}
// v where the lane is below `lanes`, else 0.
template <class Arch>
ATTN_INLINE Vec<Arch> first_lanes(Vec<Arch> v, int64_t lanes) {
  if (lanes == kWidth<Arch>) return v;
  alignas(64) float t[16];
  store_first<Arch>(t, v, lanes);
  return load_first<Arch>(t, lanes);
}

// Sum of f(x) over a row in four partial vectors of float.
template <class Arch, class F>
ATTN_INLINE float sum_row(int64_t n, const float* x, F f) {
  using V = Vec<Arch>;
  constexpr int64_t w = kWidth<Arch>;
  V s0(0.0f), s1(0.0f), s2(0.0f), s3(0.0f);
  int64_t i = 0;
  for (; i + 4 * w <= n; i += 4 * w) {
    s0 = s0 + f(load<Arch>(x + i));
    s1 = s1 + f(load<Arch>(x + i + w));
    s2 = s2 + f(load<Arch>(x + i + 2 * w));
    s3 = s3 + f(load<Arch>(x + i + 3 * w));
  }
  for (; i + w <= n; i += w) s0 = s0 + f(load<Arch>(x + i));
  if (i < n) s1 = s1 + first_lanes<Arch>(f(load_first<Arch>(x + i, n - i)), n - i);
  return sum_lanes<Arch>((s0 + s1) + (s2 + s3));
}

struct NormStatistics {
  float mean, r;
  bool moves;
};

template <class Arch>
ATTN_INLINE NormStatistics norm_statistics(const RowNorm<float>& k, const float* x) {
  using V = Vec<Arch>;
  const auto n = static_cast<float>(k.n);
  const float mean = k.centred ? sum_row<Arch>(k.n, x, [](V v) { return v; }) / n : 0.0f;
  const V m(mean);
  float squares = sum_row<Arch>(k.n, x, [m](V v) { return (v - m) * (v - m); });
  if (k.mean) squares /= n;
  const bool clamped = k.clamp && squares < k.eps;
  const float inside = clamped ? k.eps : k.clamp ? squares : squares + k.eps;
  const float r = __builtin_sqrtf(inside);
  const bool at_floor = r < k.floor;
  return {mean, at_floor ? k.floor : r, !clamped && !at_floor};
}

template <class Arch>
void norm_rows(const RowNorm<float>& k, int64_t rows, const float* x, int64_t x_row, float* y,
               int64_t y_row) {
  using V = Vec<Arch>;
  for (int64_t row = 0; row < rows; ++row, x += x_row, y += y_row) {
    const NormStatistics s = norm_statistics<Arch>(k, x);
    const V m(s.mean), a(k.gain / s.r);
    if (k.gamma && k.beta) {
      over_row<Arch>(k.n, x, [&](V v, int64_t i, int64_t lanes) {
        const V g = load_some<Arch>(k.gamma + i, lanes), b = load_some<Arch>(k.beta + i, lanes);
        store_some<Arch>(y + i, fma<Arch>((v - m) * a, g, b), lanes);
      });
    } else {
      over_row<Arch>(k.n, x, [&](V v, int64_t i, int64_t lanes) {
        V out = (v - m) * a;
        if (k.gamma) out = out * load_some<Arch>(k.gamma + i, lanes);
        if (k.beta) out = out + load_some<Arch>(k.beta + i, lanes);
        store_some<Arch>(y + i, out, lanes);
      });
    }
  }
}

// dx is written, dgamma and dbeta (n each) are added to; returns the gradient of gain.
template <class Arch>
float norm_row_vjp(const RowNorm<float>& k, const float* x, const float* dy, float* dx,
                   float* dgamma, float* dbeta) {
  using V = Vec<Arch>;
  const NormStatistics s = norm_statistics<Arch>(k, x);
  const V m(s.mean), inverse(1.0f / s.r), gain(k.gain);
  V sum_u(0.0f), sum_uh(0.0f), sum_gain(0.0f);
  over_row<Arch>(k.n, x, [&](V v, int64_t i, int64_t lanes) {
    const V g = load_some<Arch>(dy + i, lanes), h = (v - m) * inverse;
    const V weighted = k.gamma ? g * load_some<Arch>(k.gamma + i, lanes) : g;
    const V u = weighted * gain;
    sum_u = sum_u + u;
    sum_uh = fma<Arch>(u, h, sum_uh);
    sum_gain = fma<Arch>(weighted, h, sum_gain);
    store_some<Arch>(dgamma + i, fma<Arch>(g * gain, h, load_some<Arch>(dgamma + i, lanes)), lanes);
    store_some<Arch>(dbeta + i, load_some<Arch>(dbeta + i, lanes) + g, lanes);
  });
  const auto n = static_cast<float>(k.n);
  const float uh = sum_lanes<Arch>(sum_uh);
  const V mean_u(k.centred ? sum_lanes<Arch>(sum_u) / n : 0.0f);
  const V along(s.moves ? (k.mean ? uh / n : uh) : 0.0f);
  over_row<Arch>(k.n, x, [&](V v, int64_t i, int64_t lanes) {
    V u = load_some<Arch>(dy + i, lanes) * gain;
    if (k.gamma) u = u * load_some<Arch>(k.gamma + i, lanes);
    store_some<Arch>(dx + i, (u - mean_u - (v - m) * inverse * along) * inverse, lanes);
  });
  return sum_lanes<Arch>(sum_gain);
}

}  // namespace attn::kernels::simd
