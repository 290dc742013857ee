// SPDX-License-Identifier: Apache-2.0
//
// Values to try for parameters and arguments, from what the schema says of them. Names count only where a schema
// cannot say what a number means.
#pragma once

#include <attn/sdk/abi.h>
#include <attn/json.hpp>

#include <optional>
#include <vector>

namespace attn::check {

// In the order in which a small layer is looked for; never empty.
[[nodiscard]] std::vector<Json> required_values(const attn_param& p);
// What makes a layer small, or equal to others of its config; nothing: the default.
[[nodiscard]] std::optional<Json> small_value(const attn_param& p);
// Values besides `now`.
[[nodiscard]] std::vector<Json> other_values(const attn_param& p, const Json& now);
// Of an argument of a call over so many positions.
[[nodiscard]] std::vector<Json> argument_values(const attn_param& p, int64_t positions);

// The whole numbers that a parameter takes by itself: [least, most].
struct IntegerRange {
  int64_t least, most;
};
[[nodiscard]] IntegerRange integer_range(const attn_param& p);

}  // namespace attn::check
