// SPDX-License-Identifier: Apache-2.0
#include "core/kernels/table.hpp"

#include "core/error/error.hpp"

namespace attn::kernels {

const KernelTable& table() {
  switch (cpu::level()) {
    case cpu::Level::sse2:
      return kTableSse2;
    case cpu::Level::avx2:
      return kTableAvx2;
    case cpu::Level::avx512:
      return kTableAvx512;
    case cpu::Level::reference:
      break;
  }
  throw Failure(
      "kernels: the level 'reference' has no SIMD kernels; its callers use the scalar code");
}

}  // namespace attn::kernels
