// SPDX-License-Identifier: Apache-2.0
//
// Constraints of weights: the interval that an optimiser is expected to clip a weight to after each step. The
// library has no optimiser; it keeps the interval as information.
//
// Null: none. {"class_name": "ValueRangeConstraint", "config": {"min_value": a, "max_value": b or null}}: [a, b];
// clip_gradients, module and registered_name are allowed beside it and ignored. Anything else throws
// InvalidArgument. [any-thread]
#pragma once

#include <optional>
#include <utility>

#include "core/schema/families/family.hpp"

namespace attn::schema {

[[nodiscard]] const Family& constraints();
[[nodiscard]] std::optional<std::pair<double, double>> resolve_constraint(const Json& given);

}  // namespace attn::schema
