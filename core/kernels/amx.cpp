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
  return cpu::level() == cpu::Level::avx512 && cpu::has_amx() ? &tables::amx : nullptr;
}
#else
const AmxTable* amx() { return nullptr; }
#endif

}  // namespace attn::kernels
