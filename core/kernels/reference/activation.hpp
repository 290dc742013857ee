// SPDX-License-Identifier: Apache-2.0
//
// core/kernels/activation.hpp with the functions of the C++ library, in float and double. [any-thread]
#pragma once

#include <cmath>

#include "core/kernels/activation_formulas.hpp"

namespace attn::kernels::reference {

template <class T>
struct ScalarMath {
  using V = T;
  static V number(double x) { return static_cast<T>(x); }
  static V select(bool m, V a, V b) { return m ? a : b; }
  static V exp(V x) { return std::exp(x); }
  static V expm1(V x) { return std::expm1(x); }
  static V log1p(V x) { return std::log1p(x); }
  static V tanh(V x) { return std::tanh(x); }
  static V erfc(V x) { return std::erfc(x); }
  static V atan(V x) { return std::atan(x); }
  static V sqrt(V x) { return std::sqrt(x); }
  static V abs(V x) { return std::abs(x); }
  static V min(V a, V b) { return b < a ? b : a; }
  static V max(V a, V b) { return a < b ? b : a; }
};

template <class T>
void activation(const ActivationArgs& args, int64_t n, const T* x, T* y) {
  using M = ScalarMath<T>;
  const formulas::Constants<M> k(args);
  formulas::with_kind(args.kind, [&](auto tag) {
    for (int64_t i = 0; i < n; ++i) y[i] = formulas::value<M>(tag, k, x[i]);
  });
}

template <class T>
void activation_vjp(const ActivationArgs& args, int64_t n, const T* x, const T* dy, T* dx) {
  using M = ScalarMath<T>;
  const formulas::Constants<M> k(args);
  formulas::with_kind(args.kind, [&](auto tag) {
    for (int64_t i = 0; i < n; ++i) dx[i] = dy[i] * formulas::slope<M>(tag, k, x[i]);
  });
}

// d f / d alpha = x (2 g - 1) of the x-family; 0 for the others.
template <class T>
T alpha_slope(ActivationKind kind, T x) {
  using P = formulas::Pieces<ScalarMath<T>>;
  T g = T(0.5);
  if (kind == ActivationKind::xatlu) g = P::gate(formulas::Tag<ActivationKind::xatlu>{}, x);
  if (kind == ActivationKind::xgelu) g = P::gate(formulas::Tag<ActivationKind::xgelu>{}, x);
  if (kind == ActivationKind::xsilu) g = P::gate(formulas::Tag<ActivationKind::xsilu>{}, x);
  return x * (2 * g - 1);
}

}  // namespace attn::kernels::reference
