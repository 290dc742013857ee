// SPDX-License-Identifier: Apache-2.0
#include "core/cpu/caches.hpp"

#include <unistd.h>

namespace attn::cpu {

int64_t level2_bytes() {
  static const int64_t bytes = [] {
    const long known = ::sysconf(_SC_LEVEL2_CACHE_SIZE);
    return known > 0 ? int64_t{known} : int64_t{1} << 20;
  }();
  return bytes;
}

}  // namespace attn::cpu
