// SPDX-License-Identifier: Apache-2.0
//
// Scores of one row to weights and back, for the operators probability and activation. The formulas
// are those of core/kernels/reference/probability.hpp; softmax in float has vector kernels. A row whose
// scores are all -infinity counts as all zeros. [any-thread]
#pragma once

#include <limits>

#include "core/kernels/reference/probability.hpp"
#include "core/kernels/table.hpp"
#include "core/kinds/kinds.hpp"
#include "core/ops/op.hpp"

namespace attn::ops {

// As kinds.hpp; epsilon 0 and an empty polynomial: those of the kind.
struct ProbabilityRule {
  ProbabilityKind kind = ProbabilityKind::softmax;
  double slope = kThreshmaxSlope, epsilon = 0;
  double min_temp = kMinTemperature, max_temp = kMaxTemperature, threshold = kEntropyThreshold;
  std::span<const double> polynomial{};
};

// The rule of an operator that begins with the attributes of a probability.
template <class T>
ProbabilityRule probability_rule(const OpCall& c, const attn_view* slope) {
  ProbabilityRule r{static_cast<ProbabilityKind>(c.integer(0)),
                    kThreshmaxSlope,
                    c.real(2),
                    c.real(3),
                    c.real(4),
                    c.real(5),
                    c.reals(6)};
  if (slope) r.slope = static_cast<double>(*data<T>(*slope));
  return r;
}

template <class T>
void set_rule(kernels::AttentionArgs<T>& a, const ProbabilityRule& r) {
  const auto polynomial = r.polynomial.empty() ? default_polynomial(r.kind) : r.polynomial;
  a.kind = r.kind;
  a.slope = static_cast<T>(r.slope);
  a.epsilon = a.eps = static_cast<T>(r.epsilon == 0 ? default_epsilon(r.kind) : r.epsilon);
  a.min_temp = static_cast<T>(r.min_temp);
  a.max_temp = static_cast<T>(r.max_temp);
  a.threshold = static_cast<T>(r.threshold);
  a.polynomial_size = static_cast<int>(polynomial.size());
  for (size_t i = 0; i < polynomial.size(); ++i) a.polynomial[i] = static_cast<T>(polynomial[i]);
}

inline void check_kind(int64_t kind) {
  if (kind < 0 || kind >= kProbabilityKinds)
    fail("probability number %lld is not known", static_cast<long long>(kind));
}
// Throws unless the polynomial has a size that rows can hold.
inline void check_polynomial(std::span<const double> polynomial) {
  if (polynomial.size() > kernels::kMaxPolynomial)
    fail("the polynomial has %zu coefficients; expected at most %d", polynomial.size(),
         kernels::kMaxPolynomial);
}

template <class T>
class ProbabilityRow {
 public:
  explicit ProbabilityRow(const ProbabilityRule& r) : fast_(use_kernels<T>()) {
    set_rule(args_, r);
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
