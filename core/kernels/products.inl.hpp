// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/kernels/products.hpp"
#include "core/kernels/simd.hpp"

namespace attn::kernels::simd {

// Factors with kLines of step 1 before kNumbers of step 0: a product of vectors, times one number a row.
template <class Arch, int kLines, int kNumbers>
struct ProductOf {
  const float* data[3];
  int64_t row[3];

  ATTN_INLINE float number(int64_t r) const {
    float x = 1;
    for (int k = kLines; k < kLines + kNumbers; ++k) x *= data[k][r * row[k]];
    return x;
  }
  // lanes: how many of the vector count, when kPart.
  template <bool kPart>
  ATTN_INLINE Vec<Arch> vector(int64_t r, int64_t i, float number, int64_t lanes) const {
    Vec<Arch> x(number);
    for (int k = 0; k < kLines; ++k) {
      const float* p = data[k] + r * row[k] + i;
      const Vec<Arch> a = kPart ? load_first<Arch>(p, lanes) : load<Arch>(p);
      x = k == 0 && kNumbers == 0 ? a : x * a;
    }
    return x;
  }
};

// f(ProductOf<Arch, lines, numbers>), the factors in that order.
template <class Arch, class F>
ATTN_INLINE void with_product(const Factors& factors, F&& f) {
  const float* data[3];
  int64_t row[3];
  int n = 0, lines = 0;
  for (const int64_t step : {1, 0}) {
    for (int k = 0; k < factors.count; ++k)
      if (factors.step[k] == step) data[n] = factors.data[k], row[n++] = factors.row[k];
    if (step == 1) lines = n;
  }
  const auto call = [&](auto product) {
    for (int k = 0; k < n; ++k) product.data[k] = data[k], product.row[k] = row[k];
    f(product);
  };
  switch (lines * 4 + n - lines) {
    case 1:
      return call(ProductOf<Arch, 0, 1>{});
    case 2:
      return call(ProductOf<Arch, 0, 2>{});
    case 3:
      return call(ProductOf<Arch, 0, 3>{});
    case 4:
      return call(ProductOf<Arch, 1, 0>{});
    case 5:
      return call(ProductOf<Arch, 1, 1>{});
    case 6:
      return call(ProductOf<Arch, 1, 2>{});
    case 8:
      return call(ProductOf<Arch, 2, 0>{});
    case 9:
      return call(ProductOf<Arch, 2, 1>{});
    case 12:
      return call(ProductOf<Arch, 3, 0>{});
  }
}

template <class Arch>
void product_add(const Factors& factors, int64_t rows, int64_t n, float* y, int64_t y_row) {
  constexpr int64_t kW = kWidth<Arch>;
  with_product<Arch>(factors, [&](const auto& product) {
    for (int64_t r = 0; r < rows; ++r) {
      float* to = y + r * y_row;
      const float number = product.number(r);
      int64_t i = 0;
      for (; i + kW <= n; i += kW)
        store<Arch>(to + i, load<Arch>(to + i) + product.template vector<false>(r, i, number, kW));
      if (i < n)
        store_first<Arch>(
            to + i,
            load_first<Arch>(to + i, n - i) + product.template vector<true>(r, i, number, n - i),
            n - i);
    }
  });
}

// Rows are read in the order in which they lie in memory, 64 of them added up in float.
template <class Arch>
void product_line_sums(const Factors& factors, int64_t rows, int64_t n, double* sums) {
  constexpr int64_t kW = kWidth<Arch>, kColumns = 64 * kW, kRows = 64;
  alignas(64) float part[kColumns];
  const auto add = [&](float* to, Vec<Arch> x) { store<Arch>(to, load<Arch>(to) + x); };
  with_product<Arch>(factors, [&](const auto& product) {
    for (int64_t first = 0; first < n; first += kColumns) {
      const int64_t end = n - first < kColumns ? n : first + kColumns;
      for (int64_t from = 0; from < rows; from += kRows) {
        const int64_t stop = rows - from < kRows ? rows : from + kRows;
        for (int64_t j = 0; j < end - first + kW - 1 && j < kColumns; ++j) part[j] = 0.0f;
        for (int64_t r = from; r < stop; ++r) {
          const float number = product.number(r);
          int64_t i = first;
          for (; i + kW <= end; i += kW)
            add(part + i - first, product.template vector<false>(r, i, number, kW));
          if (i < end) add(part + i - first, product.template vector<true>(r, i, number, end - i));
        }
        for (int64_t i = first; i < end; ++i) sums[i] += static_cast<double>(part[i - first]);
      }
    }
  });
}

template <class Arch>
void product_row_sums(const Factors& factors, int64_t rows, int64_t n, double* sums) {
  using V = Vec<Arch>;
  constexpr int64_t kW = kWidth<Arch>, kStretch = 64 * 4 * kW;
  with_product<Arch>(factors, [&](const auto& product) {
    for (int64_t r = 0; r < rows; ++r) {
      const float number = product.number(r);
      for (int64_t from = 0; from < n; from += kStretch) {
        const int64_t end = n - from < kStretch ? n : from + kStretch;
        V part[4] = {V(0.0f), V(0.0f), V(0.0f), V(0.0f)};
        int64_t i = from;
        for (; i + 4 * kW <= end; i += 4 * kW)
          for (int v = 0; v < 4; ++v)
            part[v] += product.template vector<false>(r, i + v * kW, number, kW);
        for (; i + kW <= end; i += kW) part[0] += product.template vector<false>(r, i, number, kW);
        if (i < end) {
          // Behind the end of the line a product of numbers alone is not zero.
          alignas(64) float last[kW];
          product.template vector<true>(r, i, number, end - i).store_aligned(last);
          part[1] += load_first<Arch>(last, end - i);
        }
        sums[r] += static_cast<double>(sum_lanes<Arch>((part[0] + part[1]) + (part[2] + part[3])));
      }
    }
  });
}

}  // namespace attn::kernels::simd
