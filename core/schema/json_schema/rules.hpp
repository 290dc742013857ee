// SPDX-License-Identifier: Apache-2.0
//
// Rules between parameters as far as a JSON Schema can say them. They are functions of types; the one form that the SDK
// writes itself, `Schema::divisible()`, is known by its text, and its function is asked whether that is all of it. One
// thread.
#pragma once

#include <optional>

#include "core/schema/json_schema/parts.hpp"

namespace attn::schema::json_schema {

inline constexpr std::int64_t kMostDivisor = 64;

// None: the rule is no division, or has to do with more than its text says.
[[nodiscard]] std::optional<Json> rule_schema(const attn_type& type, const attn_rule& rule,
                                              Definitions& definitions);

}  // namespace attn::schema::json_schema
