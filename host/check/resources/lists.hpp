// SPDX-License-Identifier: Apache-2.0
//
// The lists that the group is made of.
#pragma once

#include <span>

#include "host/check/test.hpp"

namespace attn::check {

[[nodiscard]] std::span<const Test> growth_tests();
[[nodiscard]] std::span<const Test> use_tests();

}  // namespace attn::check
