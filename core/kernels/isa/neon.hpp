// SPDX-License-Identifier: Apache-2.0
//
// NEON, the baseline of aarch64. See Isa in core/kernels/simd.hpp. [any-thread]
#pragma once

#include <arm_neon.h>

#include "core/kernels/simd.hpp"

namespace attn::kernels::simd {

using Current = xsimd::neon64;

template <>
struct Isa<Current> : CommonIsa<Current> {
  static constexpr int kRegisters = 32;
  // xsimd 8.1 has a product and a sum where the compiler does not say that fma exists, and an estimate for sqrt.
  static ATTN_INLINE V fma(V a, V b, V c) { return vfmaq_f32(c, a, b); }
  static ATTN_INLINE V sqrt(V x) { return vsqrtq_f32(x); }
  // The instructions give NaN when one is NaN.
  static ATTN_INLINE V min(V a, V b) { return vbslq_f32(vcltq_f32(a, b), a, b); }
  static ATTN_INLINE V max(V a, V b) { return vbslq_f32(vcgtq_f32(a, b), a, b); }
  static ATTN_INLINE V select_bytes(const uint8_t* keep, V x, V other) {
    const uint32x4_t words = {keep[0], keep[1], keep[2], keep[3]};
    return vbslq_f32(vceqzq_u32(words), other, x);
  }
  static ATTN_INLINE float max_lanes(V x) { return vmaxvq_f32(x); }
};

}  // namespace attn::kernels::simd
