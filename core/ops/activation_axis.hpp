// SPDX-License-Identifier: Apache-2.0
//
// Activations over an axis, row by row: softmax, log_softmax, sparsemax, adaptive, threshmax (by probability_rows.hpp)
// and squash: with n = sum x^2, y = n / (1 + n) x / sqrt(n + eps) (Sabour et al. 2017, arXiv 1710.09829, eq. 1).
#pragma once

#include "core/kernels/probability_rows.hpp"
#include "core/ops/op.hpp"
#include "core/ops/rows.hpp"

namespace attn::ops {

// Constants of the kind: epsilon of threshmax and squash; the four of adaptive and its polynomial.
inline ProbabilityOptions axis_probability(ActivationKind kind, std::span<const double> p,
                                           double slope) {
  ProbabilityOptions r;
  r.slope = slope;
  switch (kind) {
    case ActivationKind::sparsemax:
      r.kind = ProbabilityKind::sparsemax;
      break;
    case ActivationKind::threshmax:
      r.kind = ProbabilityKind::threshmax;
      r.epsilon = p[0];
      break;
    case ActivationKind::adaptive:
    case ActivationKind::adaptive_paper:
      r.kind = kind == ActivationKind::adaptive ? ProbabilityKind::adaptive
                                                : ProbabilityKind::adaptive_paper;
      r.min_temp = p[0], r.max_temp = p[1], r.entropy_threshold = p[2], r.epsilon = p[3];
      r.coefficients = p.subspan(4);
      break;
    default:
      break;
  }
  return r;
}

template <class T>
class AxisRow {
 public:
  AxisRow(ActivationKind kind, std::span<const double> p, double slope)
      : kind_(kind), epsilon_(p.empty() ? 1e-7 : p[0]), rows_(axis_probability(kind, p, slope)) {}

  void forward(int64_t n, const T* x, T* y) const {
    if (kind_ == ActivationKind::squash) {
      const double s = squares(n, x);
      for (int64_t i = 0; i < n; ++i) y[i] = static_cast<T>(squash_factor(s)) * x[i];
    } else if (kind_ == ActivationKind::log_softmax) {
      const auto [max, log_sum] = log_sum_exp(n, x);
      for (int64_t i = 0; i < n; ++i) y[i] = x[i] - max - log_sum;
    } else {
      rows_.forward(1, n, x, 0, y, 0);
    }
  }
  // dx is written; returns the gradient of the slope. scratch: 3 n elements
  double backward(int64_t n, const T* x, const T* dy, T* dx, T* scratch) const {
    if (kind_ == ActivationKind::squash) {
      const double s = squares(n, x), r = std::sqrt(s + epsilon_);
      double along = 0;
      for (int64_t i = 0; i < n; ++i)
        along += static_cast<double>(dy[i]) * static_cast<double>(x[i]);
      const double d = 1 / ((1 + s) * (1 + s) * r) - 0.5 * s / ((1 + s) * r * r * r);
      const T factor = static_cast<T>(squash_factor(s)), pull = static_cast<T>(2 * d * along);
      for (int64_t i = 0; i < n; ++i) dx[i] = factor * dy[i] + pull * x[i];
      return 0;
    }
    if (kind_ == ActivationKind::log_softmax) {
      const auto [max, log_sum] = log_sum_exp(n, x);
      double sum = 0;
      for (int64_t i = 0; i < n; ++i) sum += static_cast<double>(dy[i]);
      for (int64_t i = 0; i < n; ++i)
        dx[i] = dy[i] - std::exp(x[i] - max - log_sum) * static_cast<T>(sum);
      return 0;
    }
    return rows_.backward(n, x, dy, dx, scratch);
  }

 private:
  static double squares(int64_t n, const T* x) {
    double s = 0;
    for (int64_t i = 0; i < n; ++i) s += static_cast<double>(x[i]) * static_cast<double>(x[i]);
    return s;
  }
  [[nodiscard]] double squash_factor(double s) const {
    return s / ((1 + s) * std::sqrt(s + epsilon_));
  }
  // The maximum, and the logarithm of the sum of exponentials of what is below it.
  static std::pair<T, T> log_sum_exp(int64_t n, const T* x) {
    const T max = *std::max_element(x, x + n);
    double sum = 0;
    for (int64_t i = 0; i < n; ++i) sum += static_cast<double>(std::exp(x[i] - max));
    return {max, static_cast<T>(std::log(sum))};
  }

  ActivationKind kind_;
  double epsilon_;
  kernels::ProbabilityRows<T> rows_;
};

}  // namespace attn::ops
