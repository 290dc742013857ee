// SPDX-License-Identifier: Apache-2.0
#include "core/kernels/amx.hpp"

#include "core/cpu/features.hpp"
#include "core/cpu/level.hpp"

namespace attn::kernels {

#if defined(__x86_64__)
namespace tables {
extern const AmxTable amx;  // isa/amx.cpp
}

const AmxTable* amx() {
  static const bool here = cpu::has_amx();
  return here && cpu::level() == cpu::Level::avx512 ? &tables::amx : nullptr;
}
#else
const AmxTable* amx() { return nullptr; }
#endif

}  // namespace attn::kernels
