// SPDX-License-Identifier: Apache-2.0
//
// The tests of the group "own".
#include "host/check/test.hpp"

namespace attn::check {

std::span<const Test> own_tests() { return {}; }

}  // namespace attn::check
