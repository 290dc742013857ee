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
  static ATTN_INLINE VecI<Current> extended(const int16_t* p) {
    const __m128i x = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
    return _mm_srai_epi32(_mm_unpacklo_epi16(x, x), 16);
  }
  static ATTN_INLINE VecI<Current> extended(const int8_t* p) {
    int32_t bytes;
    __builtin_memcpy(&bytes, p, sizeof bytes);
    const __m128i x = _mm_cvtsi32_si128(bytes), y = _mm_unpacklo_epi8(x, x);
    return _mm_srai_epi32(_mm_unpacklo_epi16(y, y), 24);
  }
  static ATTN_INLINE void stream(float* p, V x) { _mm_stream_ps(p, x); }
  static ATTN_INLINE void streamed() { _mm_sfence(); }
  static ATTN_INLINE float max_lanes(__m128 m) {
    m = _mm_max_ps(m, _mm_movehl_ps(m, m));
    return _mm_cvtss_f32(_mm_max_ss(m, _mm_shuffle_ps(m, m, 1)));
  }
};

}  // namespace attn::kernels::simd
