// SPDX-License-Identifier: Apache-2.0
//
// JSON text inside the engine: options and initializers that cross the plugin border as text. Files of users
// are read by attn/config.hpp, which reports lines and columns.
//
// Strict (RFC 8259), at most 64 levels deep. Throws InvalidArgument with the byte's number. [any-thread]
#pragma once

#include <string_view>

#include "core/schema/json.hpp"

namespace attn::schema {

[[nodiscard]] Json parse_json(std::string_view text);

}  // namespace attn::schema
