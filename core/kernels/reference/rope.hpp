// SPDX-License-Identifier: Apache-2.0
//
// One row of n components: r of them turn in pairs by the given angles, the rest is copied. back: by the opposite angles.
// y may be x.
#pragma once

#include <cstdint>

#include "core/kernels/rope.hpp"

namespace attn::kernels::reference {

template <class T>
void rope_row(const RopeRow& row, const T* x, const T* cos, const T* sin, bool back, T* y) {
  const int64_t half = row.r / 2, step = row.interleaved ? 2 : 1,
                apart = row.interleaved ? 1 : half;
  for (int64_t i = 0; i < row.first; ++i) y[i] = x[i];
  for (int64_t i = 0; i < half; ++i) {
    const int64_t at = row.first + i * step;
    const T a = x[at], b = x[at + apart], s = back ? -sin[i] : sin[i];
    y[at] = a * cos[i] - b * s;
    y[at + apart] = a * s + b * cos[i];
  }
  for (int64_t i = row.first + row.r; i < row.n; ++i) y[i] = x[i];
}

}  // namespace attn::kernels::reference
