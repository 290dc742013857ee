// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/kernels/conv.hpp"
#include "core/kernels/norm.inl.hpp"
#include "core/kernels/simd.hpp"

namespace attn::kernels::simd {

// kVectors vectors of neighbouring pixels from w on; the last has `lanes` lanes.
template <class Arch, int kVectors>
ATTN_INLINE void conv_planes_tile(const ConvPlanes& c, int64_t w, int64_t lanes, float* y,
                                  int64_t y_step) {
  using V = Vec<Arch>;
  constexpr int64_t kW = kWidth<Arch>;
  V sum[kVectors];
  for (int v = 0; v < kVectors; ++v) sum[v] = V(c.start);
  for (int64_t p = 0; p < c.planes; ++p)
    for (int64_t i = 0; i < c.rows; ++i) {
      const float* x = c.x + p * c.x_plane + i * c.x_row + w;
      const float* k = c.kernel + p * c.kernel_plane + i * c.kernel_row;
      for (int64_t j = 0; j < c.columns; ++j, ++x, k += c.kernel_column) {
        const V tap(*k);
        for (int v = 0; v < kVectors; ++v)
          sum[v] =
              fma<Arch>(load_some<Arch>(x + v * kW, v == kVectors - 1 ? lanes : kW), tap, sum[v]);
      }
    }
  for (int v = 0; v < kVectors; ++v) {
    alignas(64) float out[kW];
    sum[v].store_aligned(out);
    float* to = y + (w + v * kW) * y_step;
    const int64_t some = v == kVectors - 1 ? lanes : kW;
    for (int64_t n = 0; n < some; ++n)
      to[n * y_step] = c.accumulate ? to[n * y_step] + out[n] : out[n];
  }
}

template <class Arch>
void conv_planes(const ConvPlanes& c, float* y, int64_t y_step) {
  constexpr int64_t kW = kWidth<Arch>;
  int64_t w = 0;
  for (; w + 4 * kW <= c.width; w += 4 * kW) conv_planes_tile<Arch, 4>(c, w, kW, y, y_step);
  const int64_t left = c.width - w;
  if (left > 3 * kW)
    conv_planes_tile<Arch, 4>(c, w, left - 3 * kW, y, y_step);
  else if (left > 2 * kW)
    conv_planes_tile<Arch, 3>(c, w, left - 2 * kW, y, y_step);
  else if (left > kW)
    conv_planes_tile<Arch, 2>(c, w, left - kW, y, y_step);
  else if (left > 0)
    conv_planes_tile<Arch, 1>(c, w, left, y, y_step);
}

// kTaps columns of the kernel from j on.
template <class Arch, int kTaps>
ATTN_INLINE void conv_planes_taps(const float* x, int64_t width, const float* dy, float* dk,
                                  int64_t step) {
  using V = Vec<Arch>;
  constexpr int64_t kW = kWidth<Arch>;
  V sum[kTaps];
  for (int t = 0; t < kTaps; ++t) sum[t] = V(0.0f);
  for (int64_t w = 0; w < width; w += kW) {
    const int64_t lanes = width - w < kW ? width - w : kW;
    const V g = load_some<Arch>(dy + w, lanes);
    for (int t = 0; t < kTaps; ++t)
      sum[t] = fma<Arch>(load_some<Arch>(x + w + t, lanes), g, sum[t]);
  }
  for (int t = 0; t < kTaps; ++t) dk[t * step] += sum_lanes<Arch>(sum[t]);
}

template <class Arch>
void conv_planes_weights(const ConvPlanes& c, const float* dy, float* dk) {
  for (int64_t p = 0; p < c.planes; ++p)
    for (int64_t i = 0; i < c.rows; ++i) {
      const float* x = c.x + p * c.x_plane + i * c.x_row;
      float* to = dk + p * c.kernel_plane + i * c.kernel_row;
      const int64_t step = c.kernel_column;
      int64_t j = 0;
      for (; j + 7 <= c.columns; j += 7)
        conv_planes_taps<Arch, 7>(x + j, c.width, dy, to + j * step, step);
      for (; j + 3 <= c.columns; j += 3)
        conv_planes_taps<Arch, 3>(x + j, c.width, dy, to + j * step, step);
      for (; j < c.columns; ++j) conv_planes_taps<Arch, 1>(x + j, c.width, dy, to + j * step, step);
    }
}

}  // namespace attn::kernels::simd
