// SPDX-License-Identifier: Apache-2.0
//
// Vectors of numbers for the KERNELS of a plugin (attn_add_plugin()): one source for every instruction set, float and
// double. Needs no library.
//
//   #include <attn/sdk/simd.hpp>
//   namespace mylab::ATTN_KERNEL_LEVEL {
//   using namespace attn::sdk::simd;
//   void scale(int64_t n, float a, float* x) {
//     int64_t i = 0;
//     for (; i + kWidth<float> <= n; i += kWidth<float>) store(x + i, load(x + i) * a);
//     if (i < n) store_first(x + i, load_first(x + i, n - i) * a, n - i);
//   }
//   }
//   ATTN_SDK_EXPORT(mylab, Loops, loops, {scale})
//
// Vec<T>    kWidth<T> numbers: the register of the level that the file is compiled for, one number at `reference`. It
//           has the operators of a number, + - * / and comparisons, also with a T on one side. Comparisons give a mask
//           for select().
// Levels    Vec<float> of two levels are two types and all functions are always inlined, so two copies of a file share
//           no function that the linker could take from the wrong one. Write own helpers inside ATTN_KERNEL_LEVEL.
// NaN       min(a, b) and max(a, b) give b when one of them is NaN. Everything else gives NaN for NaN.
#pragma once

#include <stdint.h>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#define ATTN_SIMD_INLINE inline __attribute__((always_inline))

// ATTN_SDK_EXPORT(namespace, Table, name, {functions}): the functions of this copy, for ATTN_SDK_DISPATCH (dispatch.hpp).
#define ATTN_SDK_EXPORT(space, Table, name, ...) \
  namespace space::ATTN_KERNEL_LEVEL {           \
  extern const Table name##_table;               \
  const Table name##_table = __VA_ARGS__;        \
  }

namespace attn::sdk::simd {

// Bytes of a register; at `reference` a vector is one number.
template <class T>
inline constexpr int kRegister =
#if defined(ATTN_KERNEL_SCALAR)
    sizeof(T);
#elif defined(__AVX512F__)
    64;
#elif defined(__AVX2__)
    32;
#else
    16;
#endif

// Whether there are 32 registers, not 16: what decides how many sums a loop may keep.
inline constexpr bool kManyRegisters =
#if defined(__AVX512F__) || defined(__aarch64__)
    true;
#else
    false;
#endif

template <class T, int kBytes>
struct Register {
  typedef T type __attribute__((vector_size(kBytes)));
  typedef T loose __attribute__((vector_size(kBytes), aligned(alignof(T)), may_alias));
};
template <class T, int kBytes = kRegister<T>>
using Vec = typename Register<T, kBytes>::type;
template <class T>
inline constexpr int64_t kWidth = kRegister<T> / static_cast<int64_t>(sizeof(T));

// What a vector consists of, and how many.
template <class V>
struct LaneOf {
  typedef decltype(V{}[0] + V{}[0]) type;
};
template <class V>
using Lane = typename LaneOf<V>::type;
template <class V>
inline constexpr int64_t kCount = static_cast<int64_t>(sizeof(V) / sizeof(Lane<V>));
// Whether V is n bytes of T: what an instruction takes.
template <class V, class T, int n>
inline constexpr bool kIs = __is_same(Lane<V>, T) && sizeof(V) == n;

// ---- memory: any address ---------------------------------------------------------------------------

template <class T>
ATTN_SIMD_INLINE Vec<T> load(const T* p) {
  return *reinterpret_cast<const typename Register<T, kRegister<T>>::loose*>(p);
}
template <class V>
ATTN_SIMD_INLINE void store(Lane<V>* p, V x) {
  *reinterpret_cast<typename Register<Lane<V>, sizeof(V)>::loose*>(p) = x;
}
template <class T>
ATTN_SIMD_INLINE Vec<T> set(T x) {
  return x - Vec<T>{};
}
// x in every lane of a vector like v.
template <class V>
ATTN_SIMD_INLINE V set_like(V, Lane<V> x) {
  return x - V{};
}

#if defined(__AVX2__)
// All bits of the first n 32-bit words.
ATTN_SIMD_INLINE __m256i first_words(int64_t n) {
  const __m256i words = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), words);
}
#endif

// The first n numbers from memory, zeros in the other lanes; 0 <= n <= width. Touches no other memory.
template <class T>
ATTN_SIMD_INLINE Vec<T> load_first(const T* p, int64_t n) {
#if defined(__AVX512F__)
  if constexpr (kIs<Vec<T>, float, 64>)
    return _mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << n) - 1u), p);
  if constexpr (kIs<Vec<T>, double, 64>)
    return _mm512_maskz_loadu_pd(static_cast<__mmask8>((1u << n) - 1u), p);
#endif
#if defined(__AVX2__)
  if constexpr (kIs<Vec<T>, float, 32>) return _mm256_maskload_ps(p, first_words(n));
  if constexpr (kIs<Vec<T>, double, 32>) return _mm256_maskload_pd(p, first_words(2 * n));
#endif
  T lanes[kWidth<T>] = {};
  for (int64_t i = 0; i < n; ++i) lanes[i] = p[i];
  return load(lanes);
}
// Writes the first n lanes; 0 <= n <= width. Touches no other memory.
template <class V>
ATTN_SIMD_INLINE void store_first(Lane<V>* p, V x, int64_t n) {
#if defined(__AVX512F__)
  if constexpr (kIs<V, float, 64>)
    return _mm512_mask_storeu_ps(p, static_cast<__mmask16>((1u << n) - 1u), x);
  if constexpr (kIs<V, double, 64>)
    return _mm512_mask_storeu_pd(p, static_cast<__mmask8>((1u << n) - 1u), x);
#endif
#if defined(__AVX2__)
  if constexpr (kIs<V, float, 32>) return _mm256_maskstore_ps(p, first_words(n), x);
  if constexpr (kIs<V, double, 32>) return _mm256_maskstore_pd(p, first_words(2 * n), x);
#endif
  Lane<V> lanes[kCount<V>];
  store(lanes, x);
  for (int64_t i = 0; i < n; ++i) p[i] = lanes[i];
}

// ---- lane by lane ----------------------------------------------------------------------------------

// mask ? a : b; a mask is what a comparison gives.
template <class M, class V>
ATTN_SIMD_INLINE V select(M mask, V a, V b) {
  return mask ? a : b;
}
template <class V>
ATTN_SIMD_INLINE V min(V a, V b) {
  return a < b ? a : b;
}
template <class V>
ATTN_SIMD_INLINE V max(V a, V b) {
  return a > b ? a : b;
}

// a b + c, in one rounding where the level has it.
template <class V>
ATTN_SIMD_INLINE V fma(V a, V b, V c) {
#if defined(__AVX512F__)
  if constexpr (kIs<V, float, 64>) return _mm512_fmadd_ps(a, b, c);
  if constexpr (kIs<V, double, 64>) return _mm512_fmadd_pd(a, b, c);
#endif
#if defined(__FMA__)
  if constexpr (kIs<V, float, 32>) return _mm256_fmadd_ps(a, b, c);
  if constexpr (kIs<V, double, 32>) return _mm256_fmadd_pd(a, b, c);
#endif
#if defined(__aarch64__)
  if constexpr (kIs<V, float, 16>) return vfmaq_f32(c, a, b);
  if constexpr (kIs<V, double, 16>) return vfmaq_f64(c, a, b);
#endif
  return a * b + c;
}

// The nearest whole number, the even one of two.
template <class V>
ATTN_SIMD_INLINE V round(V x) {
#if defined(__AVX512F__)
  if constexpr (kIs<V, float, 64>) return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT);
  if constexpr (kIs<V, double, 64>) return _mm512_roundscale_pd(x, _MM_FROUND_TO_NEAREST_INT);
#endif
#if defined(__AVX2__)
  if constexpr (kIs<V, float, 32>) return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT);
  if constexpr (kIs<V, double, 32>) return _mm256_round_pd(x, _MM_FROUND_TO_NEAREST_INT);
#endif
#if defined(__aarch64__)
  if constexpr (kIs<V, float, 16>) return vrndnq_f32(x);
  if constexpr (kIs<V, double, 16>) return vrndnq_f64(x);
#endif
  // From `big` on every number is whole; below, adding and taking away `big` rounds.
  using T = Lane<V>;
  const T big = sizeof(T) == 4 ? static_cast<T>(8388608.0) : static_cast<T>(4503599627370496.0);
  const V positive = x + big - big, negative = x - big + big;
  const V rounded = x < T(0) ? negative : positive;
  return max(x, -x) < big ? rounded : x;
}

// 2^n for a whole n up to the largest exponent (127; double 1023); 0 below the least (-126; -1022).
template <class V>
ATTN_SIMD_INLINE V power_of_two(V n) {
  using T = Lane<V>;
  constexpr bool single = sizeof(T) == 4;
  const T least = single ? T(-126) : T(-1022);
  // n + big holds n in its lowest bits: shifted up, with the bias, it is the exponent.
  const T big = (single ? T(12582912.0) : T(6755399441055744.0)) + (single ? T(127) : T(1023));
  const V shifted = n + big;
  if constexpr (single) {
    typedef uint32_t I __attribute__((vector_size(sizeof(V))));
    const I bits = __builtin_bit_cast(I, shifted) << 23;
    return n < least ? V{} : __builtin_bit_cast(V, bits);
  } else {
    typedef uint64_t I __attribute__((vector_size(sizeof(V))));
    const I bits = __builtin_bit_cast(I, shifted) << 52;
    return n < least ? V{} : __builtin_bit_cast(V, bits);
  }
}

// 2^r for |r| <= 1/2. float: within 1 unit in the last place, from the value of (2^r - 1) / r at six Chebyshev points;
// double: within 2, Taylor's series.
template <class V>
ATTN_SIMD_INLINE V exp2_fraction(V r) {
  if constexpr (sizeof(Lane<V>) == 4) {
    V p = set_like(r, 1.546144472e-4F);
    p = fma(p, r, set_like(r, 1.340042818e-3F));
    p = fma(p, r, set_like(r, 9.618056678e-3F));
    p = fma(p, r, set_like(r, 5.550327227e-2F));
    p = fma(p, r, set_like(r, 2.402265092e-1F));
    p = fma(p, r, set_like(r, 6.931472067e-1F));
    return fma(p, r, set_like(r, 1.0F));
  } else {
    const V x = r * 0.69314718055994530942;
    V p = set_like(r, 1.0 / 6227020800.0);
    for (int k = 12; k >= 0; --k) {
      double factorial = 1;
      for (int i = 2; i <= k; ++i) factorial *= i;
      p = fma(p, x, set_like(r, 1.0 / factorial));
    }
    return p;
  }
}

// 2^x, up to the largest exponent; 0 below the least. As exact as exp2_fraction().
template <class V>
ATTN_SIMD_INLINE V exp2(V x) {
  const V y = max(set_like(x, sizeof(Lane<V>) == 4 ? Lane<V>(-127) : Lane<V>(-1023)), x),
          n = round(y);
  return exp2_fraction(y - n) * power_of_two(n);
}

// ---- over the lanes --------------------------------------------------------------------------------

// In pairs: the same order for every number of lanes that is a power of two.
template <class V>
ATTN_SIMD_INLINE Lane<V> sum(V x) {
  Lane<V> lanes[kCount<V>];
  store(lanes, x);
  for (int64_t n = kCount<V> / 2; n > 0; n /= 2)
    for (int64_t i = 0; i < n; ++i) lanes[i] += lanes[i + n];
  return lanes[0];
}
template <class V>
ATTN_SIMD_INLINE Lane<V> largest(V x) {
  Lane<V> lanes[kCount<V>];
  store(lanes, x);
  for (int64_t n = kCount<V> / 2; n > 0; n /= 2)
    for (int64_t i = 0; i < n; ++i) lanes[i] = max(lanes[i + n], lanes[i]);
  return lanes[0];
}

}  // namespace attn::sdk::simd
