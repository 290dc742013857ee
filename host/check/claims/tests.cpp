// SPDX-License-Identifier: Apache-2.0
//
// The tests of the group "claims".
#include "host/check/test.hpp"

namespace attn::check {

std::span<const Test> claim_tests() { return {}; }

}  // namespace attn::check
