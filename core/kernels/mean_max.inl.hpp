// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <type_traits>

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

// Adds a row to the sums of some columns.
template <class Arch, int kVectors>
ATTN_INLINE void mean_max_columns(int64_t lanes, const float* x, float* sum, float* max) {
  constexpr int64_t kW = kWidth<Arch>;
  for (int v = 0; v < kVectors; ++v) {
    const Vec<Arch> a = load_some<Arch>(x + v * kW, v == kVectors - 1 ? lanes : kW);
    store<Arch>(sum + v * kW, load<Arch>(sum + v * kW) + a);
    store<Arch>(max + v * kW, max_of<Arch>(a, load<Arch>(max + v * kW)));
  }
}

// Rows are added up in float 64 at a time, and read in the order in which they lie in memory: a quarter of 8 or of 64
// rows of a kilobyte after the other, with the sums in registers, took twice as long.
template <class Arch>
void mean_max_lines(int64_t rows, int64_t n, const float* x, int64_t x_row, double* sum,
                    float* max) {
  constexpr int64_t kW = kWidth<Arch>, kColumns = 32 * kW, kRows = 64;
  alignas(64) float part[kColumns], most[kColumns];
  for (int64_t first = 0; first < n; first += kColumns) {
    const int64_t columns = n - first < kColumns ? n - first : kColumns;
    for (int64_t j = 0; j < columns; ++j) most[j] = max[first + j];
    for (int64_t begin = 0; begin < rows; begin += kRows) {
      const int64_t end = rows - begin < kRows ? rows : begin + kRows;
      const float* block = x + begin * x_row + first;
      for (int64_t j = 0; j < columns; ++j) part[j] = 0.0f;
      for (int64_t r = begin; r < end; ++r) {
        const float* from = x + r * x_row + first;
        int64_t i = 0;
        for (; i + 4 * kW <= columns; i += 4 * kW)
          mean_max_columns<Arch, 4>(kW, from + i, part + i, most + i);
        for (; i < columns; i += kW)
          mean_max_columns<Arch, 1>(columns - i < kW ? columns - i : kW, from + i, part + i,
                                    most + i);
      }
      for (int64_t j = 0; j < columns; ++j) {
        sum[first + j] += static_cast<double>(part[j]);
        if (part[j] == part[j]) continue;
        const float top = careful_max(end - begin, [&](int64_t r) { return block[r * x_row + j]; });
        if (top > most[j] || top != top) most[j] = top;
      }
    }
    for (int64_t j = 0; j < columns; ++j) max[first + j] = most[j];
  }
}

// Whether an element is the largest one; a NaN is where the largest is one.
template <class Arch>
ATTN_INLINE auto is_top(Vec<Arch> x, Vec<Arch> top) {
  return (x == top) | ((x != x) & (top != top));
}

// f(first column, lanes, whole vectors?) for vectors of columns.
template <class Arch, class F>
ATTN_INLINE void for_columns(int64_t n, F&& f) {
  constexpr int64_t kW = kWidth<Arch>;
  int64_t i = 0;
  for (; i + kW <= n; i += kW) f(i, kW, std::true_type());
  if (i < n) f(i, n - i, std::false_type());
}
template <class Arch, bool kWhole>
ATTN_INLINE Vec<Arch> load_columns(const float* p, int64_t lanes) {
  return kWhole ? load<Arch>(p) : load_first<Arch>(p, lanes);
}
template <class Arch, bool kWhole>
ATTN_INLINE void store_columns(float* p, Vec<Arch> x, int64_t lanes) {
  if constexpr (kWhole)
    store<Arch>(p, x);
  else
    store_first<Arch>(p, x, lanes);
}

template <class Arch>
void mean_max_ties(int64_t rows, int64_t n, const float* x, int64_t x_row, const float* top,
                   float* ties) {
  using V = Vec<Arch>;
  for (int64_t r = 0; r < rows; ++r, x += x_row)
    for_columns<Arch>(n, [&](int64_t i, int64_t lanes, auto whole) {
      const auto at = [&](const float* p) { return load_columns<Arch, whole()>(p + i, lanes); };
      const V more = xsimd::select(is_top<Arch>(at(x), at(top)), V(1.0f), V(0.0f));
      store_columns<Arch, whole()>(ties + i, at(ties) + more, lanes);
    });
}

template <class Arch>
void mean_max_lines_vjp(int64_t rows, int64_t n, const float* x, int64_t x_row,
                        const MeanMaxShares& shares, float* dx, int64_t dx_row) {
  using V = Vec<Arch>;
  for (int64_t r = 0; r < rows; ++r, x += x_row, dx += dx_row)
    for_columns<Arch>(n, [&](int64_t i, int64_t lanes, auto whole) {
      const auto at = [&](const float* p) { return load_columns<Arch, whole()>(p + i, lanes); };
      const V part = xsimd::select(is_top<Arch>(at(x), at(shares.top)), at(shares.part), V(0.0f));
      store_columns<Arch, whole()>(dx + i, at(dx) + (at(shares.each) + part), lanes);
    });
}

template <class Arch, bool kFactors>
ATTN_INLINE void mean_max_rows_back(const MeanMaxRows& a) {
  using V = Vec<Arch>;
  constexpr int64_t kRows = 64;
  float part[kRows];
  for (int64_t from = 0; from < a.rows; from += kRows) {
    const int64_t count = a.rows - from < kRows ? a.rows - from : kRows;
    const float *x = a.x + from * a.x_row, *dmean = a.dmean + from * a.dmean_row,
                *dmax = a.dmax + from * a.dmax_row, *top = a.top + from * a.top_row;
    const auto product = [&](V element, int64_t i, int64_t lanes, auto whole) {
      return kFactors ? element * load_columns<Arch, whole()>(a.factors + i, lanes) : element;
    };
    for (int64_t r = 0; r < count; ++r) {
      V ties(0.0f);
      int64_t behind = 0;  // zeros behind the end of a row are not its elements
      for_columns<Arch>(a.n, [&](int64_t i, int64_t lanes, auto whole) {
        const V y =
            product(load_columns<Arch, whole()>(x + r * a.x_row + i, lanes), i, lanes, whole);
        ties += xsimd::select(is_top<Arch>(y, V(top[r * a.top_row])), V(1.0f), V(0.0f));
        behind = kWidth<Arch> - lanes;
      });
      const float zeros = top[r * a.top_row] == 0 ? static_cast<float>(behind) : 0.0f;
      part[r] = dmax[r * a.dmax_row] / (sum_lanes<Arch>(ties) - zeros);
    }
    for_columns<Arch>(a.n, [&](int64_t i, int64_t lanes, auto whole) {
      const V by = kFactors ? load_columns<Arch, whole()>(a.factors + i, lanes) : V(1.0f);
      V sum(0.0f);
      for (int64_t r = 0; r < count; ++r) {
        const V element = load_columns<Arch, whole()>(x + r * a.x_row + i, lanes);
        const V y = kFactors ? element * by : element;
        const V d = V(dmean[r * a.dmean_row] * a.share) +
                    xsimd::select(is_top<Arch>(y, V(top[r * a.top_row])), V(part[r]), V(0.0f));
        if (kFactors) sum += d * element;
        if (a.dx == nullptr) continue;
        float* to = a.dx + (from + r) * a.dx_row + i;
        store_columns<Arch, whole()>(
            to, load_columns<Arch, whole()>(to, lanes) + (kFactors ? d * by : d), lanes);
      }
      if (!kFactors || a.dfactors == nullptr) return;
      alignas(64) float sums[kWidth<Arch>];
      sum.store_aligned(sums);
      for (int64_t j = 0; j < lanes; ++j) a.dfactors[i + j] += static_cast<double>(sums[j]);
    });
  }
}

template <class Arch>
void mean_max_rows_vjp(const MeanMaxRows& rows) {
  if (rows.factors != nullptr)
    mean_max_rows_back<Arch, true>(rows);
  else
    mean_max_rows_back<Arch, false>(rows);
}

}  // namespace attn::kernels::simd
