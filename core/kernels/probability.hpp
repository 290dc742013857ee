// SPDX-License-Identifier: Apache-2.0
//
// Scores to weights in the number type that rows are computed in: what attention, the operators over a probability and
// the plugins' rows have in common. [any-thread]
#pragma once

#include <cstdint>

#include "core/kinds/probability.hpp"

namespace attn::kernels {

using Probability = ProbabilityKind;
inline constexpr int kMaxPolynomial = 16;

// ProbabilityOptions (attn/sdk/probability.hpp) with the numbers of the kind where nothing was said.
template <class T>
struct ProbabilityArgs {
  Probability kind;
  T slope, epsilon, min_temp, max_temp, threshold;
  int polynomial_size;
  T polynomial[kMaxPolynomial] = {};  // highest degree first

  // o.coefficients: at most kMaxPolynomial.
  explicit ProbabilityArgs(const ProbabilityOptions& o = {})
      : kind(o.kind),
        slope(static_cast<T>(o.slope)),
        epsilon(static_cast<T>(o.epsilon == 0 ? default_epsilon(o.kind) : o.epsilon)),
        min_temp(static_cast<T>(o.min_temp)),
        max_temp(static_cast<T>(o.max_temp)),
        threshold(static_cast<T>(o.entropy_threshold)) {
    const auto p = o.coefficients.empty() ? default_polynomial(o.kind) : o.coefficients;
    polynomial_size = static_cast<int>(p.size());
    for (int i = 0; i < polynomial_size; ++i)
      polynomial[i] = static_cast<T>(p[static_cast<std::size_t>(i)]);
  }
};

// What the forward pass of attention keeps of each row: softmax its maximum (of score * log2 e / kSoftmaxUnit) and sum,
// the others a maximum and up to four numbers more. Private to the level that wrote it; the reference recomputes and
// writes nothing but, of a part, the maximum (of score) and the sum.
inline constexpr int kMostSaved = 5;
[[nodiscard]] constexpr int saved_per_row(Probability kind) {
  return kind == Probability::softmax ? 2 : kMostSaved;
}

}  // namespace attn::kernels
