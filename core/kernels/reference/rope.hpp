// SPDX-License-Identifier: Apache-2.0
//
// One row of n components: the first r turn by the given angles, the rest is copied. back: by the
// opposite angles. y may be x.
#pragma once

#include <cstdint>

namespace attn::kernels::reference {

template <class T>
void rope_row(int64_t n, int64_t r, const T* x, const T* cos, const T* sin, bool back, T* y) {
  for (int64_t i = 0; i < r / 2; ++i) {
    const T a = x[2 * i], b = x[2 * i + 1], s = back ? -sin[i] : sin[i];
    y[2 * i] = a * cos[i] - b * s;
    y[2 * i + 1] = a * s + b * cos[i];
  }
  for (int64_t i = r; i < n; ++i) y[i] = x[i];
}

}  // namespace attn::kernels::reference
