// SPDX-License-Identifier: Apache-2.0
//
// The lists that the group is made of.
#pragma once

#include <span>

#include "host/check/test.hpp"

namespace attn::check {

[[nodiscard]] std::span<const Test> shape_tests();
[[nodiscard]] std::span<const Test> memory_tests();
[[nodiscard]] std::span<const Test> operator_tests();
[[nodiscard]] std::span<const Test> struct_tests();

}  // namespace attn::check
