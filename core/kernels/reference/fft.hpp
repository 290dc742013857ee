// SPDX-License-Identifier: Apache-2.0
//
// The loops of fft_formulas.hpp with scalars: the float64 path and what ATTN_ISA=reference runs. The oracle of the
// tests is the definition, added up in long double.
#pragma once

#include "core/kernels/fft_formulas.hpp"

namespace attn::kernels::reference {

template <class Number>
struct FftNumbers {
  using T = Number;
  using V = Number;
  static constexpr int64_t width = 1;
  static V load(const T* p) { return *p; }
  static void store(T* p, V x) { *p = x; }
};

template <class T>
using Fourier = formulas::Fourier<FftNumbers<T>>;

}  // namespace attn::kernels::reference
