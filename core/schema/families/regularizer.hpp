// SPDX-License-Identifier: Apache-2.0
//
// Regularizers by name: what a weight or an output is charged for. Given as initializers are; null means none.
// [any-thread]
#pragma once

#include "core/schema/families/family.hpp"

namespace attn::schema {

[[nodiscard]] const Family& regularizers();

[[nodiscard]] RegularizerSpec resolve_regularizer(const Json& given);

// The full form that files carry, as serialize_initializer; null stays null.
[[nodiscard]] Json serialize_regularizer(const Json& given);

// l2 * sum x^2; the one that the library itself attaches may be negative.
[[nodiscard]] RegularizerSpec l2_penalty(double factor);

// Attributes of the penalty operator (kinds.hpp).
[[nodiscard]] Component regularizer_component(const RegularizerSpec& spec);

}  // namespace attn::schema
