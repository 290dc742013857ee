// SPDX-License-Identifier: Apache-2.0
//
// Two-dimensional convolution of maps whose channels lie side by side, without a matrix of patches:
//
//   y[b, h, w, o] = bias[o] + sum over i, j, c of K[i, j, c, o] X[b, h stride + i - before, w stride + j - before, c]
//
// X is x with gap - 1 zeros between its rows and columns, and zeros around. A gap of 1 is the convolution itself;
// its gradient by x is one with stride 1, gap = stride and the kernel turned around.
//
// conv2d           writes y (or adds to it)
// conv2d_weights   dk[i, j, c, o] = sum over b, h, w of X[...] dy[b, h, w, o], with y as dy; dk dense. gap is 1
//
// float32, at the level in use; scratch comes from the Parallel. Results depend on the shapes and the level
// alone. Neither x nor the kernel may overlap y. [call-thread]
#pragma once

#include <cstdint>

#include "core/threads/parallel.hpp"

namespace attn::kernels {

// One axis: n inputs, `out` outputs.
struct ConvAxis {
  int64_t in, out, kernel, stride, gap, before;
  // The input that kernel element k meets for output `at`, or -1: none.
  [[nodiscard]] int64_t source(int64_t at, int64_t k) const {
    const int64_t v = at * stride + k - before;
    return v < 0 || v % gap != 0 || v / gap >= in ? -1 : v / gap;
  }
  // Extent of the padded input that outputs 0..n-1 read.
  [[nodiscard]] int64_t reach(int64_t n) const { return (n - 1) * stride + kernel; }
};

template <class T>
struct Conv {
  ConvAxis h, w;
  int64_t batch, in_channels, out_channels;
  const T* x;
  int64_t x_image, x_row, x_pixel;  // strides
  const T* kernel;                  // (kh, kw, in_channels, out_channels), dense
  const T* bias;                    // or nullptr
  T* y;
  int64_t y_image, y_row, y_pixel;
  bool accumulate;  // add to y
};

void conv2d(const Conv<float>& conv, Parallel& parallel);
void conv2d_weights(const Conv<float>& conv, float* dk, Parallel& parallel);

// ---- what the driver gives to the kernels of one instruction set ----------------------------------

// Few channels: planes of one channel, padded with zeros; lanes are neighbouring pixels.
//
// conv_planes          y[w step] = start + sum over p, i, j of kernel[p, i, j] x[p, i, w + j] (+ y, accumulate)
// conv_planes_weights  dk[p, i, j] += sum over w of x[p, i, w + j] dy[w]; p, i, j are strides of dk in `kernel_*`
struct ConvPlanes {
  int64_t planes, rows, columns, width;  // of kernel, kernel, kernel, and of y
  const float* x;
  int64_t x_plane, x_row;
  const float* kernel;
  int64_t kernel_plane, kernel_row, kernel_column;
  float start;
  bool accumulate;
};

}  // namespace attn::kernels
