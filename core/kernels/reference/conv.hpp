// SPDX-License-Identifier: Apache-2.0
//
// The convolution of conv.hpp as the formula says it: the oracle of the tests, and what runs in double and at
// the level `reference`. Each function does a part of the work, for a parallel loop. [any-thread]
#pragma once

#include "core/kernels/conv.hpp"

namespace attn::kernels::reference {

// Row h of image b of y.
template <class T>
void conv2d_row(const Conv<T>& c, int64_t b, int64_t h) {
  for (int64_t w = 0; w < c.w.out; ++w) {
    T* y = c.y + b * c.y_image + h * c.y_row + w * c.y_pixel;
    for (int64_t o = 0; o < c.out_channels; ++o)
      y[o] = (c.accumulate ? y[o] : T(0)) + (c.bias ? c.bias[o] : T(0));
    for (int64_t i = 0; i < c.h.kernel; ++i)
      for (int64_t j = 0; j < c.w.kernel; ++j) {
        const int64_t row = c.h.source(h, i), column = c.w.source(w, j);
        if (row < 0 || column < 0) continue;
        const T* x = c.x + b * c.x_image + row * c.x_row + column * c.x_pixel;
        const T* k = c.kernel + (i * c.w.kernel + j) * c.in_channels * c.out_channels;
        for (int64_t n = 0; n < c.in_channels; ++n)
          for (int64_t o = 0; o < c.out_channels; ++o) y[o] += x[n] * k[n * c.out_channels + o];
      }
  }
}

// sums (in_channels, out_channels) += the gradient of element (i, j) of the kernel; y is dy.
template <class T>
void conv2d_weights_tap(const Conv<T>& c, int64_t i, int64_t j, double* sums) {
  for (int64_t b = 0; b < c.batch; ++b)
    for (int64_t h = 0; h < c.h.out; ++h)
      for (int64_t w = 0; w < c.w.out; ++w) {
        const int64_t row = c.h.source(h, i), column = c.w.source(w, j);
        if (row < 0 || column < 0) continue;
        const T* x = c.x + b * c.x_image + row * c.x_row + column * c.x_pixel;
        const T* dy = c.y + b * c.y_image + h * c.y_row + w * c.y_pixel;
        for (int64_t n = 0; n < c.in_channels; ++n)
          for (int64_t o = 0; o < c.out_channels; ++o)
            sums[n * c.out_channels + o] += static_cast<double>(x[n]) * static_cast<double>(dy[o]);
      }
}

}  // namespace attn::kernels::reference
