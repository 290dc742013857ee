// SPDX-License-Identifier: Apache-2.0
//
// The caches of this processor, as far as what it says of them can be relied on.
#pragma once

#include <cstdint>

namespace attn::cpu {

// Bytes of the second-level cache of a core; 1 MiB where the system does not know. There is no function for the last
// level: virtual machines give its whole size, of which they have a share. [any-thread]
[[nodiscard]] int64_t level2_bytes();

}  // namespace attn::cpu
