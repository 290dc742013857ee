// SPDX-License-Identifier: Apache-2.0
//
// xsimd for the KERNELS of a plugin: Vec, a register of floats of the instruction set that the file is compiled
// for. The one header of the SDK that needs xsimd (8.1): whoever includes it provides that library.
//
//   namespace ATTN_KERNEL_LEVEL {
//   using namespace attn::sdk::simd;
//   void scale(long n, float a, float* x) {
//     long i = 0;
//     for (; i + kWidth<> <= n; i += kWidth<>) store(x + i, load(x + i) * Vec<>(a));
//     if (i < n) store_first(x + i, load_first(x + i, n - i) * Vec<>(a), n - i);
//   }
//   }
//
// Everything is a template on the instruction set and always inlined: two files compiled for two levels share no
// function that the linker could take from the wrong one. Write own helpers inside ATTN_KERNEL_LEVEL.
#pragma once

#include <cstdint>
#include <xsimd/xsimd.hpp>

#define ATTN_SIMD_INLINE inline __attribute__((always_inline))

namespace attn::sdk::simd {

#if defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512CD__)
using Arch = xsimd::avx512bw;
#elif defined(__AVX2__) && defined(__FMA__)
using Arch = xsimd::fma3<xsimd::avx2>;
#else
using Arch = xsimd::sse2;
#endif

template <class A = Arch>
using Vec = xsimd::batch<float, A>;
template <class A = Arch>
inline constexpr int64_t kWidth = static_cast<int64_t>(Vec<A>::size);

template <class A = Arch>
ATTN_SIMD_INLINE Vec<A> load(const float* p) {
  return Vec<A>::load_unaligned(p);
}
template <class A = Arch>
ATTN_SIMD_INLINE void store(float* p, Vec<A> x) {
  x.store_unaligned(p);
}

// The first n lanes from memory, zeros behind them; 0 <= n <= width. Touches no other memory.
template <class A = Arch>
ATTN_SIMD_INLINE Vec<A> load_first(const float* p, int64_t n) {
  alignas(64) float lanes[kWidth<A>] = {};
  for (int64_t i = 0; i < n; ++i) lanes[i] = p[i];
  return Vec<A>::load_aligned(lanes);
}
// Writes the first n lanes; 0 <= n <= width. Touches no other memory.
template <class A = Arch>
ATTN_SIMD_INLINE void store_first(float* p, Vec<A> x, int64_t n) {
  alignas(64) float lanes[kWidth<A>];
  x.store_aligned(lanes);
  for (int64_t i = 0; i < n; ++i) p[i] = lanes[i];
}

// a b + c, fused where the level has it.
template <class A = Arch>
ATTN_SIMD_INLINE Vec<A> fma(Vec<A> a, Vec<A> b, Vec<A> c) {
  return xsimd::fma(a, b, c);
}

}  // namespace attn::sdk::simd
