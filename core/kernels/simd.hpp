// SPDX-License-Identifier: Apache-2.0
//
// The only include of xsimd, and the few things that kernels need beside it. For kernel bodies
// (<name>.inl.hpp) only: never include it from a header that code outside core/kernels/isa sees.
//
// A kernel is a template on Arch, the xsimd architecture of a level, and works on Vec<Arch>, a batch of
// Vec<Arch>::size floats. Everything here is a template on Arch too, so that no function compiled
// with wide instructions can be linked into baseline code.
#pragma once

#include <cstddef>
#include <cstdint>
#include <xsimd/xsimd.hpp>

#define ATTN_INLINE inline __attribute__((always_inline))
#if defined(__clang__)
#define ATTN_UNROLL _Pragma("unroll")
#else
#define ATTN_UNROLL _Pragma("GCC unroll 16")
#endif

namespace attn::kernels::simd {

template <class Arch>
using Vec = xsimd::batch<float, Arch>;
template <class Arch>
using VecI = xsimd::batch<int32_t, Arch>;

template <class Arch>
inline constexpr int64_t kWidth = static_cast<int64_t>(Vec<Arch>::size);

// What a level does with instructions of its own: isa/<level>.hpp names its architecture Current and derives
// Isa<Current> from this, with select_bytes(), max_lanes() and whatever it does better.
template <class Arch>
struct Isa;
template <class Arch>
struct CommonIsa {
  using V = Vec<Arch>;
  static constexpr int kRegisters = 16;

  static ATTN_INLINE V fma(V a, V b, V c) { return xsimd::fma(a, b, c); }
  static ATTN_INLINE V min(V a, V b) { return xsimd::min(a, b); }
  static ATTN_INLINE V max(V a, V b) { return xsimd::max(a, b); }
  static ATTN_INLINE V sqrt(V x) { return xsimd::sqrt(x); }
  static ATTN_INLINE V load_first(const float* p, int64_t n) {
    alignas(64) float lanes[kWidth<Arch>] = {};
    for (int64_t i = 0; i < n; ++i) lanes[i] = p[i];
    return V::load_aligned(lanes);
  }
  static ATTN_INLINE void store_first(float* p, V x, int64_t n) {
    alignas(64) float lanes[kWidth<Arch>];
    x.store_aligned(lanes);
    for (int64_t i = 0; i < n; ++i) p[i] = lanes[i];
  }
  // A store past the caches, to a place aligned to the vector, and what makes such stores seen in order.
  static ATTN_INLINE void stream(float* p, V x) { x.store_aligned(p); }
  static ATTN_INLINE void streamed() {}
  // 2^x from that of the part behind the point, which lies in [-1/2, 1/2].
  template <class F>
  static ATTN_INLINE V exp2(V x, F polynomial) {
    const V y = Isa<Arch>::max(V(-127.0f), x);  // NaN stays
    const VecI<Arch> n = xsimd::nearbyint_as_int(y);
    const V p = polynomial(y - xsimd::to_float(n));
    return p * xsimd::bitwise_cast<V>((n + VecI<Arch>(127)) << 23);
  }
  // As many whole numbers of 16 or 8 bits as there are lanes, from any address.
  template <class T>
  static ATTN_INLINE VecI<Arch> extended(const T* p) {
    alignas(64) int32_t lanes[kWidth<Arch>];
    for (int64_t i = 0; i < kWidth<Arch>; ++i) lanes[i] = p[i];
    return VecI<Arch>::load_aligned(lanes);
  }
  static ATTN_INLINE V from_bfloat16(const int16_t* p) {
    return xsimd::bitwise_cast<V>(Isa<Arch>::extended(p) << 16);
  }
  // The exponent of binary16 is 112 less; above all numbers it means infinity and NaN there too.
  static ATTN_INLINE V from_float16(const int16_t* p) {
    const VecI<Arch> bits =
        (Isa<Arch>::extended(p) << 13) & VecI<Arch>(static_cast<int32_t>(0x8fffffffu));
    const V x = xsimd::bitwise_cast<V>(bits) * V(0x1p112f);
    return xsimd::select(xsimd::abs(x) >= V(65536.0f), x | V(__builtin_inff()), x);
  }
  static ATTN_INLINE V from_int8(const int8_t* p) {
    return xsimd::to_float(Isa<Arch>::extended(p));
  }
  static ATTN_INLINE float sum_lanes(V x) { return xsimd::hadd(x); }
  static ATTN_INLINE V sums_of(const V* v) { return xsimd::haddp(v); }
};

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
  return Isa<Arch>::load_first(p, n);
}

// Writes the first n lanes; 0 <= n <= width. Touches no other memory.
template <class Arch>
ATTN_INLINE void store_first(float* p, Vec<Arch> x, int64_t n) {
  Isa<Arch>::store_first(p, x, n);
}

// To memory that is not read again soon: past the caches where the level can. p is aligned to the vector; the end of
// such stores is Isa<Arch>::streamed().
template <class Arch>
ATTN_INLINE void stream(float* p, Vec<Arch> x) {
  Isa<Arch>::stream(p, x);
}

// a * b + c, fused where the level has it.
template <class Arch>
ATTN_INLINE Vec<Arch> fma(Vec<Arch> a, Vec<Arch> b, Vec<Arch> c) {
  return Isa<Arch>::fma(a, b, c);
}

// b when one of them is NaN, or when both are equal (zeros of two signs).
template <class Arch>
ATTN_INLINE Vec<Arch> min_of(Vec<Arch> a, Vec<Arch> b) {
  return Isa<Arch>::min(a, b);
}
template <class Arch>
ATTN_INLINE Vec<Arch> max_of(Vec<Arch> a, Vec<Arch> b) {
  return Isa<Arch>::max(a, b);
}

// x where keep[i] != 0, other elsewhere; reads exactly `width` bytes.
template <class Arch>
ATTN_INLINE Vec<Arch> select_bytes(const uint8_t* keep, Vec<Arch> x, Vec<Arch> other) {
  return Isa<Arch>::select_bytes(keep, x, other);
}

// 2^x for the softmax: within 1 ulp for x in [-126, 127]; 0 below -126, -infinity included (no denormals);
// NaN stays NaN. Meaningless above 127.
// Degree 6, fitted at Chebyshev points of [-1/2, 1/2].
template <class Arch>
ATTN_INLINE Vec<Arch> exp2_softmax(Vec<Arch> x) {
  using V = Vec<Arch>;
  return Isa<Arch>::exp2(x, [](V f) {
    V p = fma<Arch>(f, V(1.546144472e-4f), V(1.340042818e-3f));
    p = fma<Arch>(p, f, V(9.618056678e-3f));
    p = fma<Arch>(p, f, V(5.550327227e-2f));
    p = fma<Arch>(p, f, V(2.402265092e-1f));
    p = fma<Arch>(p, f, V(6.931472067e-1f));
    return fma<Arch>(p, f, V(1.0f));
  });
}

// exp2_softmax of one number.
template <class Arch>
ATTN_INLINE float power_of_two(float x) {
  alignas(64) float lanes[kWidth<Arch>];
  exp2_softmax<Arch>(Vec<Arch>(x)).store_aligned(lanes);
  return lanes[0];
}

// Sum and maximum over the lanes, none of which is NaN for the maximum.
template <class Arch>
ATTN_INLINE float sum_lanes(Vec<Arch> x) {
  return Isa<Arch>::sum_lanes(x);
}
template <class Arch>
ATTN_INLINE float max_lanes(Vec<Arch> x) {
  return Isa<Arch>::max_lanes(x);
}

// Lane i: the sum of the lanes of v[i].
template <class Arch>
ATTN_INLINE Vec<Arch> sums_of(const Vec<Arch>* v) {
  return Isa<Arch>::sums_of(v);
}

}  // namespace attn::kernels::simd
