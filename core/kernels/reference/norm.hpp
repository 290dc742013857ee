// SPDX-License-Identifier: Apache-2.0
//
// core/kernels/norm.hpp for one row, as the formulas read; sums in double. [any-thread]
#pragma once

#include <cmath>

#include "core/kernels/norm.hpp"

namespace attn::kernels::reference {

template <class T>
struct RowStatistics {
  T mean, r;
  bool moves;  // r depends on x
};

template <class T>
RowStatistics<T> row_statistics(const RowNorm<T>& k, const T* x) {
  const auto n = static_cast<double>(k.n);
  double mean = 0, squares = 0;
  if (k.centred) {
    for (int64_t i = 0; i < k.n; ++i) mean += static_cast<double>(x[i]);
    mean /= n;
  }
  for (int64_t i = 0; i < k.n; ++i) {
    const double c = static_cast<double>(x[i]) - mean;
    squares += c * c;
  }
  if (k.mean) squares /= n;
  const auto eps = static_cast<double>(k.eps);
  const bool clamped = k.clamp && squares < eps;
  const double r = std::sqrt(clamped ? eps : k.clamp ? squares : squares + eps);
  const bool at_floor = r < static_cast<double>(k.floor);
  return {static_cast<T>(mean), at_floor ? k.floor : static_cast<T>(r), !clamped && !at_floor};
}

template <class T>
void norm_row(const RowNorm<T>& k, const T* x, T* y) {
  const RowStatistics<T> s = row_statistics(k, x);
  for (int64_t i = 0; i < k.n; ++i) {
    T v = (x[i] - s.mean) / s.r * k.gain;
    if (k.gamma) v *= k.gamma[i];
    if (k.beta) v += k.beta[i];
    y[i] = v;
  }
}

// dx is written; dgamma and dbeta (may be nullptr) are added to.
template <class T>
double norm_row_vjp(const RowNorm<T>& k, const T* x, const T* dy, T* dx, double* dgamma,
                    double* dbeta) {
  const RowStatistics<T> s = row_statistics(k, x);
  double sum_u = 0, sum_uh = 0, dgain = 0;
  for (int64_t i = 0; i < k.n; ++i) {
    const T h = (x[i] - s.mean) / s.r, w = k.gamma ? k.gamma[i] : T(1);
    const auto u = static_cast<double>(dy[i] * k.gain * w);
    sum_u += u;
    sum_uh += u * static_cast<double>(h);
    dgain += static_cast<double>(dy[i] * w) * static_cast<double>(h);
    if (dgamma) dgamma[i] += static_cast<double>(dy[i] * k.gain) * static_cast<double>(h);
    if (dbeta) dbeta[i] += static_cast<double>(dy[i]);
  }
  const auto n = static_cast<double>(k.n);
  const T mean_u = k.centred ? static_cast<T>(sum_u / n) : T(0);
  const T along = s.moves ? static_cast<T>(k.mean ? sum_uh / n : sum_uh) : T(0);
  for (int64_t i = 0; i < k.n; ++i) {
    const T h = (x[i] - s.mean) / s.r, u = dy[i] * k.gain * (k.gamma ? k.gamma[i] : T(1));
    dx[i] = (u - mean_u - h * along) / s.r;
  }
  return dgain;
}

}  // namespace attn::kernels::reference
