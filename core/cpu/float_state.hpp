// SPDX-License-Identifier: Apache-2.0
//
// How a thread computes with floating point: rounding, denormals and traps. What the library computes does not depend
// on what an application or a plugin has set for itself. [any-thread]
#pragma once

#include <cstdint>

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace attn::cpu {

// The control bits of a thread; by default those that every program starts with: to nearest, denormals kept, no traps.
struct FloatState {
#if defined(__x86_64__)
  uint32_t sse = 0x1F80;  // MXCSR without the flags of what has happened
  uint16_t x87 = 0x037F;

  [[nodiscard]] static FloatState now() noexcept {
    FloatState s;
    s.sse = _mm_getcsr() & ~kFlags;
    __asm__ volatile("fnstcw %0" : "=m"(s.x87));
    return s;
  }
  void set() const noexcept {
    _mm_setcsr((_mm_getcsr() & kFlags) | sse);
    // An old flag would trap at once where traps are on.
    if ((x87 & kFlags) != kFlags) __asm__ volatile("fnclex");
    __asm__ volatile("fldcw %0" : : "m"(x87));
  }
  static constexpr uint32_t kFlags = 0x3F;
#else
  uint64_t fpcr = 0;

  [[nodiscard]] static FloatState now() noexcept {
    FloatState s;
    __asm__ volatile("mrs %0, fpcr" : "=r"(s.fpcr));
    return s;
  }
  void set() const noexcept { __asm__ volatile("msr fpcr, %0" : : "r"(fpcr)); }
#endif
  friend bool operator==(const FloatState&, const FloatState&) = default;
};

// The default state while it lives, and afterwards what was before, whatever ran in between. A few nanoseconds.
class FloatGuard {
 public:
  FloatGuard() noexcept {
    if (before_ != FloatState{}) FloatState{}.set();
  }
  ~FloatGuard() {
    if (FloatState::now() != before_) before_.set();
  }
  FloatGuard(const FloatGuard&) = delete;
  FloatGuard& operator=(const FloatGuard&) = delete;

  // Whether something in between has left another state than the default.
  [[nodiscard]] static bool changed() noexcept { return FloatState::now() != FloatState{}; }

 private:
  const FloatState before_ = FloatState::now();
};

}  // namespace attn::cpu
