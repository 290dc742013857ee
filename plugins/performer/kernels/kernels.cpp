// SPDX-License-Identifier: Apache-2.0
//
// kernels/kernels.hpp for one instruction set. No header of the standard library: a function compiled
// here must not stand in for one of the baseline.
#include "kernels.hpp"

#include <attn/sdk/simd.hpp>

namespace attn::performer::ATTN_KERNEL_LEVEL {
namespace {

using namespace attn::sdk::simd;

// kRows rows and kVectors vectors of c stay in registers while k runs.
template <int kRows, int kVectors, class T>
inline void block(int64_t k, const T* a, int64_t a_row, int64_t a_col, const T* b, int64_t b_row,
                  T* c, int64_t c_row, bool add) {
  constexpr int64_t W = kWidth<T>;
  Vec<T> acc[kRows][kVectors];
  for (int i = 0; i < kRows; ++i)
    for (int v = 0; v < kVectors; ++v) acc[i][v] = add ? load(c + i * c_row + v * W) : Vec<T>{};
  for (int64_t p = 0; p < k; ++p) {
    Vec<T> row[kVectors];
    for (int v = 0; v < kVectors; ++v) row[v] = load(b + p * b_row + v * W);
    for (int i = 0; i < kRows; ++i) {
      const Vec<T> x = set(a[i * a_row + p * a_col]);
      for (int v = 0; v < kVectors; ++v) acc[i][v] = fma(x, row[v], acc[i][v]);
    }
  }
  for (int i = 0; i < kRows; ++i)
    for (int v = 0; v < kVectors; ++v) store(c + i * c_row + v * W, acc[i][v]);
}

// kVectors vectors of columns and all rows: kRows at a time, then 4, then 1.
template <int kRows, int kVectors, class T>
void columns(int64_t m, int64_t k, const T* a, int64_t a_row, int64_t a_col, const T* b,
             int64_t b_row, T* c, int64_t c_row, bool add) {
  int64_t i = 0;
  for (; i + kRows <= m; i += kRows)
    block<kRows, kVectors>(k, a + i * a_row, a_row, a_col, b, b_row, c + i * c_row, c_row, add);
  for (; i + 4 <= m; i += 4)
    block<4, kVectors>(k, a + i * a_row, a_row, a_col, b, b_row, c + i * c_row, c_row, add);
  for (; i < m; ++i)
    block<1, kVectors>(k, a + i * a_row, a_row, a_col, b, b_row, c + i * c_row, c_row, add);
}

template <class T>
void product(int64_t m, int64_t n, int64_t k, const T* a, int64_t a_row, int64_t a_col, const T* b,
             int64_t b_row, T* c, int64_t c_row, bool add) {
  constexpr int64_t W = kWidth<T>;
  int64_t j = 0;
  // As many sums as there are registers for: 24 of 32, or 12 of 16.
  if constexpr (kRegister<T> == 64) {
    for (; j + 4 * W <= n; j += 4 * W)
      columns<6, 4>(m, k, a, a_row, a_col, b + j, b_row, c + j, c_row, add);
    for (; j + 3 * W <= n; j += 3 * W)
      columns<8, 3>(m, k, a, a_row, a_col, b + j, b_row, c + j, c_row, add);
    for (; j + 2 * W <= n; j += 2 * W)
      columns<12, 2>(m, k, a, a_row, a_col, b + j, b_row, c + j, c_row, add);
    for (; j < n; j += W) columns<16, 1>(m, k, a, a_row, a_col, b + j, b_row, c + j, c_row, add);
  } else {
    for (; j < n; j += 2 * W) columns<6, 2>(m, k, a, a_row, a_col, b + j, b_row, c + j, c_row, add);
  }
}

template <class T>
void row_peaks(int64_t m, int64_t n, const T* x, int64_t ld, T* peak) {
  for (int64_t f = 0; f < m; ++f) {
    Vec<T> top = set(kNever<T>);
    for (int64_t j = 0; j < n; j += kWidth<T>) top = max(load(x + f * ld + j), top);
    T lanes[kWidth<T>];
    store(lanes, round(set(largest(top))));
    peak[f] = lanes[0];
  }
}

template <class T>
void column_peaks(int64_t m, int64_t n, const T* x, int64_t ld, const T* shift, T* peak) {
  for (int64_t j = 0; j < n; j += kWidth<T>) {
    Vec<T> top = set(kLowest<T>);
    for (int64_t f = 0; f < m; ++f) top = max(round(load(x + f * ld + j)) + shift[f], top);
    store(peak + j, top);
  }
}

template <class T>
void powers(int64_t m, int64_t n, T* x, int64_t ld, const T* row, const T* column) {
  const Vec<T> low = set(kLowest<T>), high = set(T(sizeof(T) == 4 ? 127 : 1023));
  for (int64_t f = 0; f < m; ++f) {
    const Vec<T> shift = set(row[f]);
    for (int64_t j = 0; j < n; j += kWidth<T>) {
      T* at = x + f * ld + j;
      const Vec<T> y = max(low, load(at)), whole = round(y);
      Vec<T> exponent = whole + shift;
      if (column) exponent += load(column + j);
      store(at, exp2_fraction(y - whole) * power_of_two(min(high, exponent)));
    }
  }
}

template <class T>
void multiply(int64_t m, int64_t n, T* x, int64_t ld, const T* y, int64_t y_ld) {
  for (int64_t f = 0; f < m; ++f)
    for (int64_t j = 0; j < n; j += kWidth<T>)
      store(x + f * ld + j, load(x + f * ld + j) * load(y + f * y_ld + j));
}

template <class T>
constexpr Functions<T> functions = {product, row_peaks, column_peaks, powers, multiply};

}  // namespace
}  // namespace attn::performer::ATTN_KERNEL_LEVEL

ATTN_SDK_EXPORT(attn::performer, Kernels, kernels, {functions<float>, functions<double>})
