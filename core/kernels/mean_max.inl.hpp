// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/kernels/mean_max.hpp"
#include "core/kernels/norm.inl.hpp"
#include "core/kernels/simd.hpp"

namespace attn::kernels::simd {

// A maximum of vectors may lose a NaN, a sum never does: where it is one, the elements are looked at one by one.
template <class F>
ATTN_INLINE float careful_max(int64_t n, F element) {
  float top = element(0);
  for (int64_t i = 1; i < n; ++i) {
    const float a = element(i);
    top = a > top || a != a ? a : top;
  }
  return top;
}

// Four accumulators hide the latency of the additions; each adds up 64 elements in float at most.
template <class Arch, bool kFactors>
ATTN_INLINE void mean_max_row(int64_t n, const float* x, const float* factors, double share,
                              float* mean, float* max) {
  using V = Vec<Arch>;
  constexpr int64_t kW = kWidth<Arch>, kStretch = 64 * 4 * kW;
  const auto vector = [&](int64_t i) {
    if constexpr (kFactors) return load<Arch>(x + i) * load<Arch>(factors + i);
    return load<Arch>(x + i);
  };
  const auto one = [&](int64_t i) { return kFactors ? x[i] * factors[i] : x[i]; };
  double total = 0;
  float top = one(0);
  for (int64_t from = 0; from < n; from += kStretch) {
    const int64_t end = n - from < kStretch ? n : from + kStretch;
    V sum[4] = {V(0.0f), V(0.0f), V(0.0f), V(0.0f)}, most[4] = {V(top), V(top), V(top), V(top)};
    int64_t i = from;
    for (; i + 4 * kW <= end; i += 4 * kW)
      for (int v = 0; v < 4; ++v) {
        const V a = vector(i + v * kW);
        sum[v] += a;
        most[v] = max_of<Arch>(a, most[v]);
      }
    for (; i + kW <= end; i += kW) {
      const V a = vector(i);
      sum[0] += a;
      most[0] = max_of<Arch>(a, most[0]);
    }
    const float largest = max_lanes<Arch>(
        max_of<Arch>(max_of<Arch>(most[0], most[1]), max_of<Arch>(most[2], most[3])));
    top = largest > top ? largest : top;
    float part = sum_lanes<Arch>((sum[0] + sum[1]) + (sum[2] + sum[3]));
    for (; i < end; ++i) {
      const float a = one(i);
      part += a;
      top = a > top ? a : top;
    }
    total += static_cast<double>(part);
  }
  *mean = static_cast<float>(total * share);
  *max = total == total ? top : careful_max(n, one);
}

template <class Arch>
void mean_max_rows(int64_t rows, int64_t n, const float* x, int64_t x_row, const float* factors,
                   double share, float* mean, float* max, int64_t step) {
  for (int64_t r = 0; r < rows; ++r, x += x_row, mean += step, max += step) {
    if (factors)
      mean_max_row<Arch, true>(n, x, factors, share, mean, max);
    else
      mean_max_row<Arch, false>(n, x, nullptr, share, mean, max);
  }
}

template <class Arch, int kVectors>
ATTN_INLINE void mean_max_columns(int64_t rows, int64_t lanes, const float* x, int64_t x_row,
                                  double* sum, float* max) {
  using V = Vec<Arch>;
  constexpr int64_t kW = kWidth<Arch>;
  const float* const first = x;
  V part[kVectors], most[kVectors];
  for (int v = 0; v < kVectors; ++v) {
    part[v] = V(0.0f);
    most[v] = load_some<Arch>(max + v * kW, v == kVectors - 1 ? lanes : kW);
  }
  for (int64_t r = 0; r < rows; ++r, x += x_row)
    for (int v = 0; v < kVectors; ++v) {
      const V a = load_some<Arch>(x + v * kW, v == kVectors - 1 ? lanes : kW);
      part[v] += a;
      most[v] = max_of<Arch>(a, most[v]);
    }
  for (int v = 0; v < kVectors; ++v) {
    const int64_t some = v == kVectors - 1 ? lanes : kW;
    store_some<Arch>(max + v * kW, most[v], some);
    alignas(64) float parts[kW];
    part[v].store_aligned(parts);
    for (int64_t j = 0; j < some; ++j) {
      const int64_t at = v * kW + j;
      sum[at] += static_cast<double>(parts[j]);
      if (parts[j] == parts[j]) continue;
      const float top = careful_max(rows, [&](int64_t r) { return first[r * x_row + at]; });
      if (top > max[at] || top != top) max[at] = top;
    }
  }
}

// 64 rows at a time: they are added up in float and stay in L1 or L2 for all columns.
template <class Arch>
void mean_max_lines(int64_t rows, int64_t n, const float* x, int64_t x_row, double* sum,
                    float* max) {
  constexpr int64_t kW = kWidth<Arch>;
  for (int64_t r = 0; r < rows; r += 64) {
    const int64_t some = rows - r < 64 ? rows - r : 64;
    const float* from = x + r * x_row;
    int64_t i = 0;
    for (; i + 4 * kW <= n; i += 4 * kW)
      mean_max_columns<Arch, 4>(some, kW, from + i, x_row, sum + i, max + i);
    for (; i < n; i += kW)
      mean_max_columns<Arch, 1>(some, n - i < kW ? n - i : kW, from + i, x_row, sum + i, max + i);
  }
}

}  // namespace attn::kernels::simd
