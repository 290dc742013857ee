// SPDX-License-Identifier: Apache-2.0
//
// What the README of a type says in a fixed form, in a paragraph of its own:
//
//   Same function: TYPE, TYPE [with CONDITION and CONDITION] [without CONDITION and CONDITION]; TYPE ...
//
// It is about two types, so that neither can claim it. A clause holds when all its conditions do. A condition is the
// name of a parameter or of an argument of the call (set, and neither false nor 0), or a comparison:
// `head_dim * rope_percentage < 2`, `kernel_size = 1`. Names of extents of the inputs (`seq`) count as numbers. Code
// marks are for the reader alone.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "host/check/generator/settings.hpp"

namespace attn::sweeps {

using check::Setting;

// What the clauses say whose conditions hold, in their order. Nothing: the README has no such paragraph, which is a
// failure of the test that reads it.
[[nodiscard]] std::optional<std::vector<std::string>> claims(const Setting& s,
                                                             const std::string& what);

}  // namespace attn::sweeps
