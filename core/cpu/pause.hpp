// SPDX-License-Identifier: Apache-2.0
//
// What a loop that waits for another thread does each time round: leaves the core to its other thread. [any-thread]
#pragma once

namespace attn::cpu {

inline void pause() noexcept {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#else
  __asm__ volatile("yield");
#endif
}

}  // namespace attn::cpu
