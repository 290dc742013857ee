// SPDX-License-Identifier: Apache-2.0
//
// One row of a depthwise convolution, channels side by side: y[w, c] = bias[c] + sum over i < rows, j < kw of
// k[i, j, c] x[i, w step + j - before, c], zeros outside 0 <= . < in_width.
//
// depthwise_row          writes y
// depthwise_kernel_row   adds the row's part of the gradient of k: dk[i, j, c] += sum over w of
//                        x[i, w step + j - before, c] dy[w, c], with y as dy and kernel unused
// Strides count elements. [any-thread]
#pragma once

#include <cstdint>

namespace attn::kernels {

struct DepthwiseRow {
  int64_t channels, rows, kw, in_width, out_width, step, before;
  const float* x;
  int64_t x_row, x_pixel;
  const float* kernel;  // (rows, kw, channels), dense
  const float* bias;    // or nullptr
};

}  // namespace attn::kernels
