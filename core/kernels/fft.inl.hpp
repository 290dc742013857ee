// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/kernels/fft_formulas.hpp"
#include "core/kernels/simd.hpp"

namespace attn::kernels::simd {

template <class Arch>
struct FftNumbers {
  using T = float;
  using V = Vec<Arch>;
  static constexpr int64_t width = kWidth<Arch>;
  ATTN_INLINE static V load(const float* p) { return V::load_unaligned(p); }
  ATTN_INLINE static void store(float* p, V x) { x.store_unaligned(p); }
};

template <class Arch>
void fft_pass(const FftPass<float>& pass, float* xr, float* xi, float* yr, float* yi) {
  formulas::Fourier<FftNumbers<Arch>>::pass(pass, xr, xi, yr, yi);
}
template <class Arch>
void fft_multiply(int64_t n, const float* w, float* xr, float* xi) {
  formulas::Fourier<FftNumbers<Arch>>::multiply(n, w, xr, xi);
}
template <class Arch>
void fft_unpack(int64_t n, const float* zr, const float* zi, float* fr, float* fi, int64_t row,
                int64_t apart) {
  formulas::Fourier<FftNumbers<Arch>>::unpack(n, zr, zi, fr, fi, row, apart);
}

}  // namespace attn::kernels::simd
