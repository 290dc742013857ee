// SPDX-License-Identifier: Apache-2.0
//
// Types and their creation in words: log lines and information entries. [any-thread]
#pragma once

#include <attn/sdk/abi.h>

#include <string>
#include <string_view>

#include "core/schema/json.hpp"

namespace attn::schema {

// INFO: Creating 'TYPE' layer (CLASS) with parameters: {...}. effective: of ValidatedConfig; name: as given,
// null and "" count as not given.
[[nodiscard]] std::string creating_line(const attn_type& type, const Json& effective,
                                        const Json& name);

// ERROR: Failed to create 'TYPE' layer (CLASS). ... type: nullptr when it is not known; parameters: as given.
[[nodiscard]] std::string failed_line(const attn_type* type, std::string_view type_name,
                                      const Json& parameters, std::string_view error);

// {type, class, description, use_case, complexity, paper, input_shape, required_params, optional_params, aliases}
[[nodiscard]] Json info_entry(const attn_type& type);

}  // namespace attn::schema
