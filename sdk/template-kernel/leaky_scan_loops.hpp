// SPDX-License-Identifier: Apache-2.0
//
// The loops of leaky_scan_loops.cpp, compiled once for each instruction set. No standard headers with inline code: a copy of theirs
// that was compiled for one instruction set could end up in the others.
#pragma once

#include <stdint.h>

namespace leaky_scan_loops {

// y = a x + b over n numbers; y may be any of the others.
template <class T>
using MultiplyAdd = void (*)(int64_t n, const T* a, const T* x, const T* b, T* y);

struct Loops {
  MultiplyAdd<float> f32;
  MultiplyAdd<double> f64;
  template <class T>
  [[nodiscard]] MultiplyAdd<T> of() const {
    if constexpr (sizeof(T) == sizeof(float))
      return f32;
    else
      return f64;
  }
};
// Those of a level ("avx2").
const Loops& loops(const char* level);

}  // namespace leaky_scan_loops
