// SPDX-License-Identifier: Apache-2.0
//
// What all random cases of a type have to cover together, from its schema, and what a case covers.
#pragma once

#include "host/check/mathematics/trial.hpp"

namespace attn::properties {

using check::Case;
using check::Marks;

void mark_config(const std::string& type, const Json& config, Marks& marks);
void mark_call(const Case& c, Marks& marks);
// What all cases of a type together must cover.
[[nodiscard]] Marks expected_marks(const std::string& type);
// ... and all cases of all these types.
[[nodiscard]] Marks expected_options(const std::vector<std::string>& types);

}  // namespace attn::properties
