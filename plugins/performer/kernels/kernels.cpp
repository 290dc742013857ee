// SPDX-License-Identifier: Apache-2.0
//
// kernels/kernels.hpp for one instruction set. No header of the standard library: a function compiled
// here must not stand in for one of the baseline.
#include "kernels.hpp"

#include <attn/sdk/simd.hpp>

namespace attn::performer::ATTN_KERNEL_LEVEL {
namespace {

using namespace attn::sdk::simd;

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
constexpr Functions<T> functions = {row_peaks, column_peaks, powers, multiply};

}  // namespace
}  // namespace attn::performer::ATTN_KERNEL_LEVEL

ATTN_SDK_EXPORT(attn::performer, Kernels, kernels, {functions<float>, functions<double>})
