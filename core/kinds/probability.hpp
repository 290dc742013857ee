// SPDX-License-Identifier: Apache-2.0
//
// How scores become weights. The list of kinds and the defaults of their options are the SDK's
// (attn/sdk/probability.hpp); here stands what the operators over a probability begin with:
//
//   0 kind               I64    ProbabilityKind
//   1 axes               I64S   those normalised, of a rank 4 score tensor; several only for softmax
//   2 epsilon            F64    threshmax: added to the last divisor; adaptive: floor of probability
//                               and of temperature. 0: that of the kind
//   3 min_temp           F64    adaptive
//   4 max_temp           F64    adaptive
//   5 entropy_threshold  F64    adaptive
//   6 coefficients       F64S   adaptive, both forms: polynomial of the entropy, highest degree
//                               first. Empty: that of the kind
//   slot 0: slope, shape () - threshmax only
#pragma once

#include <attn/sdk/probability.hpp>

namespace attn {

using sdk::ProbabilityKind, sdk::ProbabilityOptions, sdk::kProbabilityKinds,
    sdk::kProbabilityAttributes, sdk::is_adaptive, sdk::default_epsilon, sdk::default_polynomial;
inline constexpr int kProbabilitySlots = 1;

}  // namespace attn
