// SPDX-License-Identifier: Apache-2.0
//
// One parameter by itself: kind, then range, then names. [any-thread]
#pragma once

#include <attn/sdk/abi.h>

#include <string_view>

#include "core/schema/json.hpp"

namespace attn::schema {

[[nodiscard]] bool is_nullable(const attn_param& param);

// Throws InvalidArgument whose text is "Parameter 'p' must be ...", or the family's own text for an unknown
// name. name: the one the user wrote, which may be an alias.
void check_param(const attn_param& param, std::string_view name, const Json& value);

}  // namespace attn::schema
