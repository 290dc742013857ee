// SPDX-License-Identifier: Apache-2.0
//
// Probability types by name: how scores become weights. Names in any letter case. Axes belong to scores of rank
// 4, (batch, head, query, key); the batch axis is refused. [any-thread]
#pragma once

#include "core/kinds/probability.hpp"
#include "core/schema/families/family.hpp"

namespace attn::schema {

inline constexpr int kScoreRank = 4;

[[nodiscard]] const Family& probabilities();

// Throws `Unknown probability type 'V'`, or `Probability type 'V' is not supported by attention layers` for the
// types that need features instead of scores.
[[nodiscard]] const FamilyMember& find_probability(std::string_view name);

// The weight of threshmax, wherever it is used.
struct Slope {
  double value = ProbabilityOptions{}.slope;
  bool trainable = false;
  std::optional<InitializerSpec> initializer{};  // none: start at value
  RegularizerSpec regularizer{};
  std::optional<std::pair<double, double>> clip{};
};
[[nodiscard]] std::vector<Option> threshmax_options();
[[nodiscard]] Slope resolve_slope(const Options& options);
[[nodiscard]] WeightDeclaration declare_slope(const Slope& slope, std::string name);

struct ResolvedProbability {
  ProbabilityOptions options{};        // but for the slope and the coefficients
  std::vector<double> coefficients{};  // both forms of adaptive
  std::vector<std::int64_t> axes{-1};  // negative, ascending
  Slope slope{};                       // threshmax
};

// The options of adaptive, wherever it is used.
[[nodiscard]] std::vector<Option> adaptive_options();
[[nodiscard]] ResolvedProbability resolve_adaptive(const Options& options);

// axis_forced: the layer sets the axis itself; what the options say about it is accepted and ignored.
[[nodiscard]] ResolvedProbability resolve_probability(std::string_view name, const Json& options,
                                                      bool axis_forced = false);

// Attributes and weights; see kinds.hpp for their order.
[[nodiscard]] Component probability_component(const ResolvedProbability& resolved);

}  // namespace attn::schema
