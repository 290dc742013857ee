// SPDX-License-Identifier: Apache-2.0
#include "core/weights/seed.hpp"

#include <attn/factory.hpp>

namespace attn {

void set_seed(uint64_t seed) { weights::set_global_seed(seed); }

}  // namespace attn
