// SPDX-License-Identifier: Apache-2.0
//
// SSE2, the baseline of x86-64. See Isa in core/kernels/simd.hpp. [any-thread]
#pragma once

#include <emmintrin.h>

#include "core/kernels/simd.hpp"

namespace attn::kernels::simd {

using Current = xsimd::sse2;

template <>
struct Isa<Current> : CommonIsa<Current> {
  static ATTN_INLINE V select_bytes(const uint8_t* keep, V x, V other) {
    const __m128i words = _mm_setr_epi32(keep[0], keep[1], keep[2], keep[3]);
    const __m128 masked = _mm_castsi128_ps(_mm_cmpeq_epi32(words, _mm_setzero_si128()));
    return _mm_or_ps(_mm_and_ps(masked, other), _mm_andnot_ps(masked, x));
  }
  static ATTN_INLINE void stream(float* p, V x) { _mm_stream_ps(p, x); }
  static ATTN_INLINE void streamed() { _mm_sfence(); }
  static ATTN_INLINE float max_lanes(__m128 m) {
    m = _mm_max_ps(m, _mm_movehl_ps(m, m));
    return _mm_cvtss_f32(_mm_max_ss(m, _mm_shuffle_ps(m, m, 1)));
  }
};

}  // namespace attn::kernels::simd
