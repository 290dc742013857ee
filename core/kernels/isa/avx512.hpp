// SPDX-License-Identifier: Apache-2.0
//
// AVX-512 (f, cd, dq, bw). See Isa in core/kernels/simd.hpp. [any-thread]
#pragma once

#include <immintrin.h>

#include "core/kernels/simd.hpp"

namespace attn::kernels::simd {

using Current = xsimd::avx512bw;

template <>
struct Isa<Current> : CommonIsa<Current> {
  static constexpr int kRegisters = 32;
  static ATTN_INLINE __mmask16 mask(int64_t n) { return static_cast<__mmask16>((1u << n) - 1u); }
  static ATTN_INLINE V load_first(const float* p, int64_t n) {
    return _mm512_maskz_loadu_ps(mask(n), p);
  }
  static ATTN_INLINE void store_first(float* p, V x, int64_t n) {
    _mm512_mask_storeu_ps(p, mask(n), x);
  }
  static ATTN_INLINE V select_bytes(const uint8_t* keep, V x, V other) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(keep));
    const __m512i wide = _mm512_cvtepu8_epi32(bytes);
    return _mm512_mask_mov_ps(other, _mm512_test_epi32_mask(wide, wide), x);
  }
  static ATTN_INLINE VecI<Current> extended(const int16_t* p) {
    return _mm512_cvtepi16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static ATTN_INLINE VecI<Current> extended(const int8_t* p) {
    return _mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  static ATTN_INLINE V from_float16(const int16_t* p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  template <class F>
  static ATTN_INLINE V exp2(V x, F polynomial) {
    const __m512 f = _mm512_reduce_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    const __m512 n = _mm512_sub_ps(x, f);
    const __mmask16 keep = _mm512_cmp_ps_mask(x, _mm512_set1_ps(-126.0f), _CMP_NLT_UQ);
    return _mm512_maskz_scalef_ps(keep, polynomial(V(f)), n);
  }
  static ATTN_INLINE float sum_lanes(V x) { return _mm512_reduce_add_ps(x); }
  static ATTN_INLINE void stream(float* p, V x) { _mm512_stream_ps(p, x); }
  static ATTN_INLINE void streamed() { _mm_sfence(); }
  static ATTN_INLINE float max_lanes(V x) { return _mm512_reduce_max_ps(x); }
  // xsimd 8.1's haddp is wrong here.
  static ATTN_INLINE V sums_of(const V* v) {
    __m512 quad[4];  // in each 128-bit lane: the sums of that lane of four vectors
    ATTN_UNROLL
    for (int i = 0; i < 4; ++i) {
      const __m512 a = v[4 * i], b = v[4 * i + 1], c = v[4 * i + 2], d = v[4 * i + 3];
      const __m512 ab = _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
      const __m512 cd = _mm512_add_ps(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
      const __m512 low = _mm512_shuffle_ps(ab, cd, 0x44), high = _mm512_shuffle_ps(ab, cd, 0xEE);
      quad[i] = _mm512_add_ps(low, high);
    }
    const auto fold = [](__m512 x, __m512 y) {
      return _mm512_add_ps(_mm512_shuffle_f32x4(x, y, 0x88), _mm512_shuffle_f32x4(x, y, 0xDD));
    };
    return fold(fold(quad[0], quad[1]), fold(quad[2], quad[3]));
  }

  // That of philox.inl.hpp with one block a lane. Lanes hold the blocks in such an order that transposing within 128 bits leaves the
  // words in sequence. Six times as fast as what the compiler makes of that loop.
  static ATTN_INLINE void philox_sixteen(uint64_t seed, uint64_t stream, uint64_t first,
                                         uint32_t* words) {
    const auto set = [](uint32_t x) { return _mm512_set1_epi32(static_cast<int>(x)); };
    const __m512i m0 = set(0xD2511F53u), m1 = set(0xCD9E8D57u);
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    __m512i x0 = _mm512_add_epi32(set(static_cast<uint32_t>(first)), order);
    // A carry into the upper half of the counter.
    const __mmask16 carry = _mm512_cmplt_epu32_mask(x0, order);
    const __m512i high = set(static_cast<uint32_t>(first >> 32));
    __m512i x1 = _mm512_mask_add_epi32(high, carry, high, set(1));
    __m512i x2 = set(static_cast<uint32_t>(stream)), x3 = set(static_cast<uint32_t>(stream >> 32));
    auto key0 = static_cast<uint32_t>(seed), key1 = static_cast<uint32_t>(seed >> 32);
    for (int round = 0; round < 10; ++round) {
      const __m512i e0 = _mm512_mul_epu32(x0, m0),
                    o0 = _mm512_mul_epu32(_mm512_srli_epi64(x0, 32), m0);
      const __m512i e1 = _mm512_mul_epu32(x2, m1),
                    o1 = _mm512_mul_epu32(_mm512_srli_epi64(x2, 32), m1);
      const __m512i high0 = _mm512_mask_mov_epi32(_mm512_srli_epi64(e0, 32), 0xAAAA, o0);
      const __m512i high1 = _mm512_mask_mov_epi32(_mm512_srli_epi64(e1, 32), 0xAAAA, o1);
      const __m512i low0 = _mm512_mask_mov_epi32(e0, 0xAAAA, _mm512_slli_epi64(o0, 32));
      const __m512i low1 = _mm512_mask_mov_epi32(e1, 0xAAAA, _mm512_slli_epi64(o1, 32));
      x0 = _mm512_ternarylogic_epi32(high1, x1, set(key0), 0x96);  // exclusive or of three
      x1 = low1;
      x2 = _mm512_ternarylogic_epi32(high0, x3, set(key1), 0x96);
      x3 = low0;
      key0 += 0x9E3779B9u;
      key1 += 0xBB67AE85u;
    }
    const __m512i a = _mm512_unpacklo_epi32(x0, x1), b = _mm512_unpacklo_epi32(x2, x3);
    const __m512i c = _mm512_unpackhi_epi32(x0, x1), d = _mm512_unpackhi_epi32(x2, x3);
    _mm512_storeu_si512(words, _mm512_unpacklo_epi64(a, b));
    _mm512_storeu_si512(words + 16, _mm512_unpackhi_epi64(a, b));
    _mm512_storeu_si512(words + 32, _mm512_unpacklo_epi64(c, d));
    _mm512_storeu_si512(words + 48, _mm512_unpackhi_epi64(c, d));
  }
};

}  // namespace attn::kernels::simd
