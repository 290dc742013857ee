// SPDX-License-Identifier: Apache-2.0
//
// The only include of xsimd, and the few things that kernels need beside it. For kernel bodies
// (<name>.inl.hpp) only: never include it from a header that code outside core/kernels/isa sees.
//
// A kernel is a template on Arch (Sse2, Avx2, Avx512 below) and works on Vec<Arch>, a batch of
// Vec<Arch>::size floats. Everything here is a template on Arch too, so that no function compiled
// with wide instructions can be linked into baseline code.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <xsimd/xsimd.hpp>

#define ATTN_INLINE inline __attribute__((always_inline))

namespace attn::kernels::simd {

using Sse2 = xsimd::sse2;
using Avx2 = xsimd::fma3<xsimd::avx2>;
using Avx512 = xsimd::avx512bw;

template <class Arch>
using Vec = xsimd::batch<float, Arch>;
template <class Arch>
using VecI = xsimd::batch<int32_t, Arch>;

template <class Arch>
inline constexpr int64_t kWidth = static_cast<int64_t>(Vec<Arch>::size);
template <class Arch>
inline constexpr bool kIsSse2 = kWidth<Arch> == 4;
template <class Arch>
inline constexpr bool kIsAvx2 = kWidth<Arch> == 8;
template <class Arch>
inline constexpr bool kIsAvx512 = kWidth<Arch> == 16;

template <class Arch>
ATTN_INLINE Vec<Arch> load(const float* p) {
  return Vec<Arch>::load_unaligned(p);
}
template <class Arch>
ATTN_INLINE void store(float* p, Vec<Arch> x) {
  x.store_unaligned(p);
}

// The first n lanes from memory, zeros after them; 0 <= n <= width. Touches no other memory.
template <class Arch>
ATTN_INLINE Vec<Arch> load_first(const float* p, int64_t n) {
  if constexpr (kIsAvx512<Arch>) {
    return _mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << n) - 1u), p);
  } else if constexpr (kIsAvx2<Arch>) {
    const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_maskload_ps(p, _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), lanes));
  } else {
    alignas(16) float lanes[4] = {0, 0, 0, 0};
    for (int64_t i = 0; i < n; ++i) lanes[i] = p[i];
    return Vec<Arch>::load_aligned(lanes);
  }
}

// Writes the first n lanes; 0 <= n <= width. Touches no other memory.
template <class Arch>
ATTN_INLINE void store_first(float* p, Vec<Arch> x, int64_t n) {
  if constexpr (kIsAvx512<Arch>) {
    _mm512_mask_storeu_ps(p, static_cast<__mmask16>((1u << n) - 1u), x);
  } else if constexpr (kIsAvx2<Arch>) {
    const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    _mm256_maskstore_ps(p, _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), lanes), x);
  } else {
    alignas(16) float lanes[4];
    x.store_aligned(lanes);
    for (int64_t i = 0; i < n; ++i) p[i] = lanes[i];
  }
}

// a * b + c, fused where the level has it.
template <class Arch>
ATTN_INLINE Vec<Arch> fma(Vec<Arch> a, Vec<Arch> b, Vec<Arch> c) {
  return xsimd::fma(a, b, c);
}

// x where keep[i] != 0, other elsewhere; reads exactly `width` bytes.
template <class Arch>
ATTN_INLINE Vec<Arch> select_bytes(const uint8_t* keep, Vec<Arch> x, Vec<Arch> other) {
  if constexpr (kIsAvx512<Arch>) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(keep));
    const __m512i wide = _mm512_cvtepu8_epi32(bytes);
    return _mm512_mask_mov_ps(other, _mm512_test_epi32_mask(wide, wide), x);
  } else if constexpr (kIsAvx2<Arch>) {
    const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(keep));
    const __m256i wide = _mm256_cvtepu8_epi32(bytes);
    const __m256i dead = _mm256_cmpeq_epi32(wide, _mm256_setzero_si256());
    return _mm256_blendv_ps(x, other, _mm256_castsi256_ps(dead));
  } else {
    const __m128i words = _mm_setr_epi32(keep[0], keep[1], keep[2], keep[3]);
    const __m128 dead = _mm_castsi128_ps(_mm_cmpeq_epi32(words, _mm_setzero_si128()));
    return _mm_or_ps(_mm_and_ps(dead, other), _mm_andnot_ps(dead, x));
  }
}

// 2^x for the softmax: within 1 ulp for x in [-126, 127]; 0 below -126, -infinity included (no denormals);
// NaN stays NaN. Meaningless above 127.
// Degree 6, fitted at Chebyshev points of [-1/2, 1/2].
template <class Arch>
ATTN_INLINE Vec<Arch> exp2_softmax(Vec<Arch> x) {
  using V = Vec<Arch>;
  const auto polynomial = [](V f) {
    V p = fma<Arch>(f, V(1.546144472e-4f), V(1.340042818e-3f));
    p = fma<Arch>(p, f, V(9.618056678e-3f));
    p = fma<Arch>(p, f, V(5.550327227e-2f));
    p = fma<Arch>(p, f, V(2.402265092e-1f));
    p = fma<Arch>(p, f, V(6.931472067e-1f));
    return fma<Arch>(p, f, V(1.0f));
  };
  if constexpr (kIsAvx512<Arch>) {
    const __m512 f = _mm512_reduce_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    const __m512 n = _mm512_sub_ps(x, f);
    const __mmask16 keep = _mm512_cmp_ps_mask(x, _mm512_set1_ps(-126.0f), _CMP_NLT_UQ);
    return _mm512_maskz_scalef_ps(keep, polynomial(V(f)), n);
  } else if constexpr (kIsAvx2<Arch>) {
    // maxps gives its second operand when one is NaN: x must stand there.
    const __m256 y = _mm256_max_ps(_mm256_set1_ps(-127.0f), x);
    const __m256 n = _mm256_round_ps(y, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    const V p = polynomial(V(_mm256_sub_ps(y, n)));
    const __m256i e =
        _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23);
    return p * V(_mm256_castsi256_ps(e));
  } else {
    const __m128 y = _mm_max_ps(_mm_set1_ps(-127.0f), x);
    const __m128i i = _mm_cvtps_epi32(y);
    const V p = polynomial(V(_mm_sub_ps(y, _mm_cvtepi32_ps(i))));
    const __m128i e = _mm_slli_epi32(_mm_add_epi32(i, _mm_set1_epi32(127)), 23);
    return p * V(_mm_castsi128_ps(e));
  }
}

// exp2_softmax of one number.
template <class Arch>
ATTN_INLINE float power_of_two(float x) {
  alignas(64) float lanes[kWidth<Arch>];
  exp2_softmax<Arch>(Vec<Arch>(x)).store_aligned(lanes);
  return lanes[0];
}

// Sum and maximum over the lanes.
template <class Arch>
ATTN_INLINE float sum_lanes(Vec<Arch> x) {
  if constexpr (kIsAvx512<Arch>) {
    return _mm512_reduce_add_ps(x);
  } else {
    return xsimd::hadd(x);
  }
}
template <class Arch>
ATTN_INLINE float max_lanes(Vec<Arch> x) {
  if constexpr (kIsAvx512<Arch>) {
    return _mm512_reduce_max_ps(x);
  } else if constexpr (kIsAvx2<Arch>) {
    __m128 m = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    m = _mm_max_ps(m, _mm_movehl_ps(m, m));
    return _mm_cvtss_f32(_mm_max_ss(m, _mm_shuffle_ps(m, m, 1)));
  } else {
    __m128 m = x;
    m = _mm_max_ps(m, _mm_movehl_ps(m, m));
    return _mm_cvtss_f32(_mm_max_ss(m, _mm_shuffle_ps(m, m, 1)));
  }
}

}  // namespace attn::kernels::simd
