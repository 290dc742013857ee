// SPDX-License-Identifier: Apache-2.0
//
// Everything that the schema of a type tells, for people and programs: texts, inputs, parameters, rules, arguments of
// calls and outputs. Also what the Python package makes its classes from.
#pragma once

#include <attn/factory.hpp>

namespace attn::cli {

[[nodiscard]] Json schema_facts(const TypeEntry& entry);

}  // namespace attn::cli
