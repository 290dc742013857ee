// SPDX-License-Identifier: Apache-2.0
//
// Mean and maximum in one pass over memory.
//
// mean_max_rows    mean[r step] = share * sum over i < n of x[r x_row + i], max[r step] their maximum; with
//                  factors (n), of x[r x_row + i] factors[i]
// mean_max_lines   sum[i] += sum over r < rows of x[r x_row + i], max[i] = their maximum and what it was
// A NaN makes both NaN. Sums are taken in float over short stretches and added up in double; their order
// depends on n and rows alone. The plain templates serve double and the level `reference`. [any-thread]
#pragma once

#include <cstdint>

namespace attn::kernels {

// The larger of the two; NaN when one is NaN.
template <class T>
T larger(T x, T y) {
  return x > y || x != x ? x : y;
}

// One row whose elements are `step` apart.
template <class T>
void mean_max_row(int64_t n, const T* x, int64_t step, double share, T* mean, T* max) {
  double sum = 0;
  T top = x[0];
  for (int64_t i = 0; i < n; ++i) {
    sum += static_cast<double>(x[i * step]);
    top = larger(x[i * step], top);
  }
  *mean = static_cast<T>(sum * share);
  *max = top;
}

}  // namespace attn::kernels
