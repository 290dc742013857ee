// SPDX-License-Identifier: Apache-2.0
//
// AVX2 with FMA and F16C. See Isa in core/kernels/simd.hpp. [any-thread]
#pragma once

#include <immintrin.h>

#include "core/kernels/simd.hpp"

namespace attn::kernels::simd {

using Current = xsimd::fma3<xsimd::avx2>;

template <>
struct Isa<Current> : CommonIsa<Current> {
  static ATTN_INLINE __m256i mask(int64_t n) {
    const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), lanes);
  }
  static ATTN_INLINE V load_first(const float* p, int64_t n) {
    return _mm256_maskload_ps(p, mask(n));
  }
  static ATTN_INLINE void store_first(float* p, V x, int64_t n) {
    _mm256_maskstore_ps(p, mask(n), x);
  }
  static ATTN_INLINE V select_bytes(const uint8_t* keep, V x, V other) {
    const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(keep));
    const __m256i wide = _mm256_cvtepu8_epi32(bytes);
    const __m256i masked = _mm256_cmpeq_epi32(wide, _mm256_setzero_si256());
    return _mm256_blendv_ps(x, other, _mm256_castsi256_ps(masked));
  }
  static ATTN_INLINE VecI<Current> extended(const int16_t* p) {
    return _mm256_cvtepi16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  static ATTN_INLINE VecI<Current> extended(const int8_t* p) {
    return _mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
  }
  static ATTN_INLINE V from_float16(const int16_t* p) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  static ATTN_INLINE void stream(float* p, V x) { _mm256_stream_ps(p, x); }
  static ATTN_INLINE void streamed() { _mm_sfence(); }
  static ATTN_INLINE float max_lanes(V x) {
    __m128 m = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    m = _mm_max_ps(m, _mm_movehl_ps(m, m));
    return _mm_cvtss_f32(_mm_max_ss(m, _mm_shuffle_ps(m, m, 1)));
  }

  // philox_sixteen of philox.inl.hpp for eight blocks.
  static ATTN_INLINE void philox_eight(uint64_t seed, uint64_t stream, uint64_t first,
                                       uint32_t* words) {
    const auto set = [](uint32_t x) { return _mm256_set1_epi32(static_cast<int>(x)); };
    const __m256i m0 = set(0xD2511F53u), m1 = set(0xCD9E8D57u);
    const __m256i order = _mm256_setr_epi32(0, 2, 4, 6, 1, 3, 5, 7);
    const __m256i low_counter = set(static_cast<uint32_t>(first));
    __m256i x0 = _mm256_add_epi32(low_counter, order);
    // A carry into the upper half: the sum is less than what was added to. There is no unsigned comparison.
    const __m256i no_carry = _mm256_cmpeq_epi32(_mm256_max_epu32(x0, low_counter), x0);
    const __m256i high = set(static_cast<uint32_t>(first >> 32) + 1);
    __m256i x1 = _mm256_add_epi32(high, no_carry);
    __m256i x2 = set(static_cast<uint32_t>(stream)), x3 = set(static_cast<uint32_t>(stream >> 32));
    auto key0 = static_cast<uint32_t>(seed), key1 = static_cast<uint32_t>(seed >> 32);
    for (int round = 0; round < 10; ++round) {
      const __m256i e0 = _mm256_mul_epu32(x0, m0),
                    o0 = _mm256_mul_epu32(_mm256_srli_epi64(x0, 32), m0);
      const __m256i e1 = _mm256_mul_epu32(x2, m1),
                    o1 = _mm256_mul_epu32(_mm256_srli_epi64(x2, 32), m1);
      const __m256i high0 = _mm256_blend_epi32(_mm256_srli_epi64(e0, 32), o0, 0xAA);
      const __m256i high1 = _mm256_blend_epi32(_mm256_srli_epi64(e1, 32), o1, 0xAA);
      const __m256i low0 = _mm256_blend_epi32(e0, _mm256_slli_epi64(o0, 32), 0xAA);
      const __m256i low1 = _mm256_blend_epi32(e1, _mm256_slli_epi64(o1, 32), 0xAA);
      x0 = _mm256_xor_si256(_mm256_xor_si256(high1, x1), set(key0));
      x1 = low1;
      x2 = _mm256_xor_si256(_mm256_xor_si256(high0, x3), set(key1));
      x3 = low0;
      key0 += 0x9E3779B9u;
      key1 += 0xBB67AE85u;
    }
    const __m256i a = _mm256_unpacklo_epi32(x0, x1), b = _mm256_unpacklo_epi32(x2, x3);
    const __m256i c = _mm256_unpackhi_epi32(x0, x1), d = _mm256_unpackhi_epi32(x2, x3);
    auto* out = reinterpret_cast<__m256i*>(words);
    _mm256_storeu_si256(out, _mm256_unpacklo_epi64(a, b));
    _mm256_storeu_si256(out + 1, _mm256_unpackhi_epi64(a, b));
    _mm256_storeu_si256(out + 2, _mm256_unpacklo_epi64(c, d));
    _mm256_storeu_si256(out + 3, _mm256_unpackhi_epi64(c, d));
  }
  static ATTN_INLINE void philox_sixteen(uint64_t seed, uint64_t stream, uint64_t first,
                                         uint32_t* words) {
    philox_eight(seed, stream, first, words);
    philox_eight(seed, stream, first + 8, words + 32);
  }
};

}  // namespace attn::kernels::simd
