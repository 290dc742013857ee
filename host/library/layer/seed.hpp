// SPDX-License-Identifier: Apache-2.0
//
// Seeds of layers that are built without one: a counter over set_seed()'s value, or entropy. [any-thread]
#pragma once

#include <cstdint>

namespace attn::host {
[[nodiscard]] uint64_t next_layer_seed();
}
