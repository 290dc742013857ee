// SPDX-License-Identifier: Apache-2.0
//
// The functions of kernels.hpp in plain loops, for double and for a host
// without vectors, and the choice among all of them.
#pragma once

#include <attn/sdk/plugin.hpp>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string_view>

#include "kernels/kernels.hpp"

namespace attn::performer {

// 2^e for a whole e, however small.
template <class T>
T power_of_two(T e) {
  return std::ldexp(T(1), static_cast<int>(std::clamp<T>(e, -5000, 1023)));
}

template <class T>
struct Plain {
  static void product(int64_t m, int64_t n, int64_t k, const T* a, int64_t a_row, int64_t a_col,
                      const T* b, int64_t b_row, T* c, int64_t c_row, bool add) {
    for (int64_t i = 0; i < m; ++i) {
      T* to = c + i * c_row;
      if (!add) std::fill_n(to, n, T(0));
      for (int64_t p = 0; p < k; ++p) {
        const T x = a[i * a_row + p * a_col];
        for (int64_t j = 0; j < n; ++j) to[j] += x * b[p * b_row + j];
      }
    }
  }
  static void row_peaks(int64_t m, int64_t n, const T* x, int64_t ld, T* peak) {
    for (int64_t f = 0; f < m; ++f) {
      T top = std::numeric_limits<T>::lowest();
      for (int64_t j = 0; j < n; ++j)
        if (x[f * ld + j] > top) top = x[f * ld + j];
      peak[f] = std::nearbyint(top);
    }
  }
  static void column_peaks(int64_t m, int64_t n, const T* x, int64_t ld, const T* shift, T* peak) {
    std::fill_n(peak, n, std::numeric_limits<T>::lowest());
    for (int64_t f = 0; f < m; ++f)
      for (int64_t j = 0; j < n; ++j) {
        const T e = std::nearbyint(x[f * ld + j]) + shift[f];
        if (e > peak[j]) peak[j] = e;
      }
  }
  static void powers(int64_t m, int64_t n, T* x, int64_t ld, const T* row, const T* column) {
    for (int64_t f = 0; f < m; ++f)
      for (int64_t j = 0; j < n; ++j) {
        T& y = x[f * ld + j];
        const T whole = std::nearbyint(y), shifted = whole + row[f];
        y = whole < -kNever<T>
                ? T(0)
                : std::exp2(y - whole) * power_of_two(column ? shifted + column[j] : shifted);
      }
  }
  static void scale_columns(int64_t m, int64_t n, T* x, int64_t ld, const T* factor) {
    for (int64_t f = 0; f < m; ++f)
      for (int64_t j = 0; j < n; ++j) x[f * ld + j] *= factor[j];
  }
  static void multiply(int64_t m, int64_t n, T* x, int64_t ld, const T* y, int64_t y_ld) {
    for (int64_t f = 0; f < m; ++f)
      for (int64_t j = 0; j < n; ++j) x[f * ld + j] *= y[f * y_ld + j];
  }
  static constexpr Functions<T> kFunctions{product, row_peaks,     column_peaks,
                                           powers,  scale_columns, multiply};
};

// What the running CPU takes.
template <class T>
const Functions<T>& functions(const sdk::OpCall& c) {
  if constexpr (std::is_same_v<T, float>) {
    const std::string_view level = c.raw().engine->cpu_level();
    if (level == "avx512") return avx512::kFunctions;
    if (level == "avx2") return avx2::kFunctions;
    if (level == "sse2") return sse2::kFunctions;
  }
  return Plain<T>::kFunctions;
}

}  // namespace attn::performer
