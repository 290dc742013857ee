// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace attn::test {

// Requests for memory by operator new, anywhere in the process, that this thread may still make; negative: as many as
// it likes.
[[nodiscard]] int64_t& allocations_left();

}  // namespace attn::test
