// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/kernels/activation_formulas.hpp"
#include "core/kernels/norm.inl.hpp"
#include "core/kernels/simd.hpp"

namespace attn::kernels::simd {

template <class Arch>
struct VectorMath {
  using V = Vec<Arch>;
  using Mask = typename V::batch_bool_type;
  static ATTN_INLINE V number(double x) { return V(static_cast<float>(x)); }
  static ATTN_INLINE V select(Mask m, V a, V b) { return xsimd::select(m, a, b); }
  static ATTN_INLINE V exp(V x) { return xsimd::exp(x); }
  static ATTN_INLINE V expm1(V x) { return xsimd::expm1(x); }
  static ATTN_INLINE V log1p(V x) { return xsimd::log1p(x); }
  static ATTN_INLINE V tanh(V x) { return xsimd::tanh(x); }
  static ATTN_INLINE V erfc(V x) { return xsimd::erfc(x); }
  static ATTN_INLINE V atan(V x) { return xsimd::atan(x); }
  static ATTN_INLINE V sqrt(V x) { return Isa<Arch>::sqrt(x); }
  static ATTN_INLINE V abs(V x) { return xsimd::abs(x); }
  // They give their second operand when one is NaN: a, which is x, must stand there.
  static ATTN_INLINE V min(V a, V b) { return min_of<Arch>(b, a); }
  static ATTN_INLINE V max(V a, V b) { return max_of<Arch>(b, a); }
};

template <class Arch, formulas::K kind>
void activation_line(formulas::Tag<kind> tag, const ActivationArgs& args, int64_t n, const float* x,
                     float* y) {
  const formulas::Constants<VectorMath<Arch>> k(args);
  over_row<Arch>(n, x, [&](Vec<Arch> v, int64_t i, int64_t lanes) {
    store_some<Arch>(y + i, formulas::value<VectorMath<Arch>>(tag, k, v), lanes);
  });
}

template <class Arch>
void activation(const ActivationArgs& args, int64_t n, const float* x, float* y) {
  formulas::with_kind(args.kind, [&](auto tag) { activation_line<Arch>(tag, args, n, x, y); });
}

template <class Arch, formulas::K kind>
void activation_vjp_line(formulas::Tag<kind> tag, const ActivationArgs& args, int64_t n,
                         const float* x, const float* dy, float* dx) {
  const formulas::Constants<VectorMath<Arch>> k(args);
  over_row<Arch>(n, x, [&](Vec<Arch> v, int64_t i, int64_t lanes) {
    const Vec<Arch> g = load_some<Arch>(dy + i, lanes);
    store_some<Arch>(dx + i, g * formulas::slope<VectorMath<Arch>>(tag, k, v), lanes);
  });
}

template <class Arch>
void activation_vjp(const ActivationArgs& args, int64_t n, const float* x, const float* dy,
                    float* dx) {
  formulas::with_kind(args.kind,
                      [&](auto tag) { activation_vjp_line<Arch>(tag, args, n, x, dy, dx); });
}

}  // namespace attn::kernels::simd
