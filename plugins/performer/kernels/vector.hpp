// SPDX-License-Identifier: Apache-2.0
//
// One register of floats of the instruction set that this is compiled for: Vec,
// kWidth numbers.
#pragma once

#include <immintrin.h>

namespace attn::performer::ATTN_KERNEL_LEVEL {

#if defined(__AVX512F__)
using Vec = __m512;
inline constexpr int kWidth = 16;
inline Vec load(const float* p) { return _mm512_loadu_ps(p); }
inline void store(float* p, Vec x) { _mm512_storeu_ps(p, x); }
inline Vec all(float x) { return _mm512_set1_ps(x); }
inline Vec plus(Vec a, Vec b) { return _mm512_add_ps(a, b); }
inline Vec minus(Vec a, Vec b) { return _mm512_sub_ps(a, b); }
inline Vec times(Vec a, Vec b) { return _mm512_mul_ps(a, b); }
inline Vec times_plus(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a, b, c); }
inline Vec larger(Vec a, Vec b) { return _mm512_max_ps(a, b); }   // b where one is NaN
inline Vec smaller(Vec a, Vec b) { return _mm512_min_ps(a, b); }  // b where one is NaN
inline Vec whole(Vec x) {
  return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
// 2^e for a whole e up to 127, 0 below -126.
inline Vec power_of_two(Vec e) {
  const __mmask16 there = _mm512_cmp_ps_mask(e, _mm512_set1_ps(-126.0F), _CMP_NLT_UQ);
  const __m512i bits =
      _mm512_slli_epi32(_mm512_add_epi32(_mm512_cvtps_epi32(e), _mm512_set1_epi32(127)), 23);
  return _mm512_castsi512_ps(_mm512_maskz_mov_epi32(there, bits));
}

#elif defined(__AVX2__)
using Vec = __m256;
inline constexpr int kWidth = 8;
inline Vec load(const float* p) { return _mm256_loadu_ps(p); }
inline void store(float* p, Vec x) { _mm256_storeu_ps(p, x); }
inline Vec all(float x) { return _mm256_set1_ps(x); }
inline Vec plus(Vec a, Vec b) { return _mm256_add_ps(a, b); }
inline Vec minus(Vec a, Vec b) { return _mm256_sub_ps(a, b); }
inline Vec times(Vec a, Vec b) { return _mm256_mul_ps(a, b); }
inline Vec times_plus(Vec a, Vec b, Vec c) { return _mm256_fmadd_ps(a, b, c); }
inline Vec larger(Vec a, Vec b) { return _mm256_max_ps(a, b); }
inline Vec smaller(Vec a, Vec b) { return _mm256_min_ps(a, b); }
inline Vec whole(Vec x) {
  return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
inline Vec power_of_two(Vec e) {
  const Vec there = _mm256_cmp_ps(e, _mm256_set1_ps(-126.0F), _CMP_NLT_UQ);
  const __m256i bits =
      _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(e), _mm256_set1_epi32(127)), 23);
  return _mm256_and_ps(there, _mm256_castsi256_ps(bits));
}

#else
using Vec = __m128;
inline constexpr int kWidth = 4;
inline Vec load(const float* p) { return _mm_loadu_ps(p); }
inline void store(float* p, Vec x) { _mm_storeu_ps(p, x); }
inline Vec all(float x) { return _mm_set1_ps(x); }
inline Vec plus(Vec a, Vec b) { return _mm_add_ps(a, b); }
inline Vec minus(Vec a, Vec b) { return _mm_sub_ps(a, b); }
inline Vec times(Vec a, Vec b) { return _mm_mul_ps(a, b); }
inline Vec times_plus(Vec a, Vec b, Vec c) { return _mm_add_ps(_mm_mul_ps(a, b), c); }
inline Vec larger(Vec a, Vec b) { return _mm_max_ps(a, b); }
inline Vec smaller(Vec a, Vec b) { return _mm_min_ps(a, b); }
inline Vec whole(Vec x) {
  // From 2^23 on every float is whole; below, adding and taking away 2^23
  // rounds.
  const Vec sign = _mm_and_ps(x, _mm_set1_ps(-0.0F)), big = _mm_set1_ps(8388608.0F);
  const Vec size = _mm_andnot_ps(_mm_set1_ps(-0.0F), x);
  const Vec rounded = _mm_or_ps(_mm_sub_ps(_mm_add_ps(size, big), big), sign);
  const Vec small = _mm_cmplt_ps(size, big);
  return _mm_or_ps(_mm_and_ps(small, rounded), _mm_andnot_ps(small, x));
}
inline Vec power_of_two(Vec e) {
  const Vec there = _mm_cmpnlt_ps(e, _mm_set1_ps(-126.0F));
  const __m128i bits = _mm_slli_epi32(_mm_add_epi32(_mm_cvtps_epi32(e), _mm_set1_epi32(127)), 23);
  return _mm_and_ps(there, _mm_castsi128_ps(bits));
}
#endif

// 2^((x + first) + second), both whole; 0 for -infinity. The series is that of (2^r - 1) / r through six
// Chebyshev points of |r| <= 1/2: relative error below 6e-9, far less than the
// rounding of its evaluation.
inline Vec shifted_power(Vec x, Vec first, Vec second) {
  const Vec y = larger(all(-3.4e38F), x);
  const Vec n = whole(y), r = minus(y, n);
  Vec q = all(0.000154531629F);
  q = times_plus(q, r, all(0.00133908634F));
  q = times_plus(q, r, all(0.00961808256F));
  q = times_plus(q, r, all(0.0555035711F));
  q = times_plus(q, r, all(0.240226508F));
  q = times_plus(q, r, all(0.693147188F));
  q = times_plus(q, r, all(1.0F));
  return times(q, power_of_two(smaller(all(127.0F), plus(plus(n, first), second))));
}

}  // namespace attn::performer::ATTN_KERNEL_LEVEL
