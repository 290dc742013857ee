// SPDX-License-Identifier: Apache-2.0
//
// The lists that the group is made of.
#pragma once

#include <span>

#include "host/check/test.hpp"

namespace attn::check {

[[nodiscard]] std::span<const Test> bytes_tests();
[[nodiscard]] std::span<const Test> loading_tests();
[[nodiscard]] std::span<const Test> entry_tests();

}  // namespace attn::check
