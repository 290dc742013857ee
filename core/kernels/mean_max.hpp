// SPDX-License-Identifier: Apache-2.0
//
// Mean and maximum in one pass over memory.
//
// mean_max_rows    mean[r step] = share * sum over i < n of x[r x_row + i], max[r step] their maximum; with
//                  factors (n), of x[r x_row + i] factors[i]
// mean_max_lines   sum[i] += sum over r < rows of x[r x_row + i], max[i] = their maximum and what it was
//
// and what x gets of their gradients, where equal largest elements share that of the maximum:
// mean_max_ties       ties[i] += how many x[r x_row + i] are top[i]
// mean_max_lines_vjp  dx[r dx_row + i] += each[i], and part[i] where x[r x_row + i] is top[i]
// mean_max_rows_vjp   the same of mean_max_rows, and what the factors get
//
// A NaN makes both NaN. Sums are taken in float over short stretches and added up in double; their order
// depends on n and rows alone. The plain templates serve double and the level `reference`. [any-thread]
#pragma once

#include <cstdint>

namespace attn::kernels {

// What every element of a column gets, and each of its largest ones, `top`, beside it.
struct MeanMaxShares {
  const float *each, *part, *top;
};

struct MeanMaxRows {
  int64_t rows, n;
  const float* x;
  int64_t x_row;
  const float* factors;  // n; nullptr: ones
  const float *dmean, *dmax, *top;
  int64_t dmean_row, dmax_row, top_row;
  float share;  // of an element in the mean
  float* dx;    // nullptr: not wanted
  int64_t dx_row;
  double* dfactors;  // n, added to; nullptr: not wanted
};

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
