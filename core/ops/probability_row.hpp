// SPDX-License-Identifier: Apache-2.0
//
// Scores of one row to weights and back, for the operators probability and activation. The formulas
// are those of core/kernels/reference/probability.hpp; softmax in float has vector kernels. A row whose
// scores are all -infinity counts as all zeros. [any-thread]
#pragma once

#include <limits>

#include "core/kernels/reference/probability.hpp"
#include "core/kernels/table.hpp"
#include "core/ops/op.hpp"
#include "core/schema/kinds.hpp"

namespace attn::ops {

struct ProbabilityRule {
  ProbabilityKind kind = ProbabilityKind::softmax;
  double slope = 10, epsilon = 1e-12;                                  // threshmax
  double min_temp = 0.1, max_temp = 1, threshold = 0.5, floor = 1e-7;  // adaptive
  std::span<const double> polynomial{};                                // highest degree first
};

// Throws unless the polynomial has a size that rows can hold.
inline void check_polynomial(std::span<const double> polynomial) {
  if (polynomial.empty() || polynomial.size() > kernels::kMaxPolynomial)
    fail("the polynomial has %zu coefficients; expected 1 to %d", polynomial.size(),
         kernels::kMaxPolynomial);
}

template <class T>
class ProbabilityRow {
 public:
  explicit ProbabilityRow(const ProbabilityRule& r) : fast_(use_kernels<T>()) {
    args_.kind = static_cast<kernels::Probability>(r.kind);
    args_.slope = static_cast<T>(r.slope);
    args_.epsilon = static_cast<T>(r.epsilon);
    args_.min_temp = static_cast<T>(r.min_temp);
    args_.max_temp = static_cast<T>(r.max_temp);
    args_.threshold = static_cast<T>(r.threshold);
    args_.eps = static_cast<T>(r.floor);
    args_.polynomial_size = static_cast<int>(r.polynomial.size());
    for (size_t i = 0; i < r.polynomial.size(); ++i)
      args_.polynomial[i] = static_cast<T>(r.polynomial[i]);
  }
  // w from z (n >= 1); z may hold -infinity.
  void forward(int64_t n, const T* z, T* w) const {
    if constexpr (sizeof(T) == sizeof(float)) {
      if (vectors()) {
        kernels::table().softmax_rows(1, n, z, 0, w, 0);
        return;
      }
    }
    if (dead(n, z)) std::fill_n(w, n, T(0));
    (void)kernels::reference::probability(args_, n, dead(n, z) ? w : z, w);
  }
  // dz (written) from dw; scratch: 3 n elements. Returns the gradient of the slope.
  double backward(int64_t n, const T* z, const T* dw, T* dz, T* scratch) const {
    T *w = scratch, *zeros = scratch + n, *rest = scratch + 2 * n;
    if constexpr (sizeof(T) == sizeof(float)) {
      if (vectors()) {
        kernels::table().softmax_rows(1, n, z, 0, w, 0);
        kernels::table().softmax_row_vjp(n, w, dw, dz);
        return 0;
      }
    }
    if (dead(n, z)) {
      std::fill_n(zeros, n, T(0));
      z = zeros;
    }
    const auto row = kernels::reference::probability(args_, n, z, w);
    return static_cast<double>(
        kernels::reference::probability_backward(args_, row, n, z, w, dw, dz, rest));
  }
  // Softmax in float: whole runs of rows may go to the kernel at once.
  [[nodiscard]] bool vectors() const {
    return fast_ && args_.kind == kernels::Probability::softmax;
  }

 private:
  static bool dead(int64_t n, const T* z) {
    for (int64_t i = 0; i < n; ++i)
      if (!(z[i] == -std::numeric_limits<T>::infinity())) return false;
    return true;
  }
  kernels::AttentionArgs<T> args_{};
  bool fast_;
};

}  // namespace attn::ops
