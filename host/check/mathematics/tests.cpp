// SPDX-License-Identifier: Apache-2.0
//
// The tests of the group "mathematics".
#include "host/check/test.hpp"

namespace attn::check {

std::span<const Test> mathematics_tests() { return {}; }

}  // namespace attn::check
