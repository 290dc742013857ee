// SPDX-License-Identifier: Apache-2.0
//
// The tests of the group "resources".
#include "host/check/test.hpp"

namespace attn::check {

std::span<const Test> resource_tests() { return {}; }

}  // namespace attn::check
