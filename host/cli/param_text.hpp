// SPDX-License-Identifier: Apache-2.0
//
// Parameters and call arguments of a schema in words and as JSON.
#pragma once

#include <attn/sdk/abi.h>
#include <attn/json.hpp>

#include <string>

namespace attn::cli {

[[nodiscard]] std::string kind_text(const attn_param& p);   // "int", "text"
[[nodiscard]] std::string range_text(const attn_param& p);  // "> 0, odd", "'a', 'b'"; "" when free
// `def`: the default as the factory shows it.
[[nodiscard]] Json param_json(const attn_param& p, const Json& def);

}  // namespace attn::cli
