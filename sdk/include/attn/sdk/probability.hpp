// SPDX-License-Identifier: Apache-2.0
//
// How a row of scores becomes weights: the one list of kinds, and their options with the defaults. Enums, the names in
// configs, the attributes of operators and the rows of core/kernels are made from it. host/docs/hacking.md says how a
// kind is added. [any-thread]
#pragma once

#include <cstdint>
#include <span>

// X(kind, number, name, alias): the number never changes its meaning and is never used again; name and alias of a
// config, nullptr where it is a form of another kind. N is the length of a row, H its entropy after softmax.
#define ATTN_PROBABILITIES(X)                                                                 \
  X(softmax, 0, "softmax", nullptr)                                                           \
  X(sparsemax, 1, "sparsemax", nullptr)          /* Euclidean projection on the simplex */    \
  X(threshmax, 2, "threshmax", "thresh_max")     /* softmax, gated by a smooth step at 1/N */ \
  X(adaptive, 3, "adaptive", "adaptive_softmax") /* softmax, the temperature follows H */     \
  X(adaptive_paper, 4, nullptr, nullptr)         /* the same as its paper defines it */

namespace attn::sdk {

#define ATTN_PROBABILITY_NUMBER(kind, number, name, alias) kind = number,
#define ATTN_PROBABILITY_COUNT(kind, number, name, alias) +1
enum class ProbabilityKind : std::int32_t { ATTN_PROBABILITIES(ATTN_PROBABILITY_NUMBER) };
inline constexpr std::int64_t kProbabilityKinds = ATTN_PROBABILITIES(ATTN_PROBABILITY_COUNT);
#undef ATTN_PROBABILITY_NUMBER
#undef ATTN_PROBABILITY_COUNT

// Both forms of `adaptive`. That of the paper (Velickovic et al. 2024, arXiv 2410.01104, figure 5) takes the scores
// times max(1, polynomial(H)) where H is above the threshold, and no other option.
[[nodiscard]] constexpr bool is_adaptive(ProbabilityKind kind) noexcept {
  return kind == ProbabilityKind::adaptive || kind == ProbabilityKind::adaptive_paper;
}

// What an operator over a probability begins with: kind, axes, epsilon, min_temp, max_temp, entropy_threshold,
// coefficients.
inline constexpr int kProbabilityAttributes = 7;

// What holds where a config or a caller says nothing.
struct ProbabilityOptions {
  ProbabilityKind kind = ProbabilityKind::softmax;
  double slope = 10;  // threshmax, a weight of the layer: how steep the step is
  // threshmax: added to the last divisor; adaptive: floor of a probability and of the temperature. 0: that of the kind.
  double epsilon = 0;
  double min_temp = 0.1, max_temp = 1;  // adaptive
  double entropy_threshold = 0.5;       // both forms of adaptive
  // Both forms: polynomial of the entropy, highest degree first. Empty: that of the kind.
  std::span<const double> coefficients{};
};

[[nodiscard]] constexpr double default_epsilon(ProbabilityKind kind) noexcept {
  return is_adaptive(kind) ? 1e-7 : 1e-12;
}

inline constexpr double kAdaptivePolynomial[] = {-1.791, 4.917, -2.3, 0.481, -0.037};
inline constexpr double kPaperPolynomial[] = {-0.037, 0.481, -2.3, 4.917, -1.791};
[[nodiscard]] constexpr std::span<const double> default_polynomial(ProbabilityKind kind) noexcept {
  if (kind == ProbabilityKind::adaptive_paper) return kPaperPolynomial;
  return kAdaptivePolynomial;
}

}  // namespace attn::sdk
