// SPDX-License-Identifier: Apache-2.0
#include "core/kernels/table.hpp"

#include "core/error/error.hpp"

namespace attn::kernels {

const KernelTable& table() {
  switch (cpu::level()) {
#define ATTN_TABLE(level, ...) \
  case cpu::Level::level:      \
    return tables::level;
    ATTN_SDK_LEVELS(ATTN_TABLE, )
#undef ATTN_TABLE
    case cpu::Level::reference:
      break;
  }
  throw Failure(
      "kernels: the level 'reference' has no SIMD kernels; its callers use the scalar code");
}

}  // namespace attn::kernels
