// SPDX-License-Identifier: Apache-2.0
//
// Lanes are channels. A register tile is four output pixels by two vectors, so that each tap of the kernel is
// loaded once for four pixels; pixels whose taps reach over an edge are done one by one.
#pragma once

#include "core/kernels/depthwise.hpp"
#include "core/kernels/norm.inl.hpp"
#include "core/kernels/simd.hpp"

namespace attn::kernels::simd {

// Taps j in [first, last) of `pixels` neighbouring outputs from w on; `vectors` vectors of channels, the last
// of them with `lanes` lanes.
template <class Arch, int kPixels, int kVectors>
ATTN_INLINE void depthwise_tile(const DepthwiseRow& d, int64_t c, int64_t lanes, int64_t w,
                                int64_t first, int64_t last, float* y, int64_t y_pixel) {
  using V = Vec<Arch>;
  constexpr int64_t kW = kWidth<Arch>;
  const auto read = [lanes](const float* p, int v) {
    return v == kVectors - 1 ? load_some<Arch>(p + v * kW, lanes) : load<Arch>(p + v * kW);
  };
  V sum[kPixels][kVectors];
  for (int v = 0; v < kVectors; ++v) {
    const V start = d.bias ? read(d.bias + c, v) : V(0.0f);
    for (int p = 0; p < kPixels; ++p) sum[p][v] = start;
  }
  const int64_t apart = d.step * d.x_pixel;
  for (int64_t i = 0; i < d.rows; ++i) {
    const float* x = d.x + i * d.x_row + (w * d.step + first - d.before) * d.x_pixel + c;
    const float* k = d.kernel + (i * d.kw + first) * d.channels + c;
    for (int64_t j = first; j < last; ++j, x += d.x_pixel, k += d.channels)
      for (int v = 0; v < kVectors; ++v) {
        const V tap = read(k, v);
        for (int p = 0; p < kPixels; ++p)
          sum[p][v] = fma<Arch>(read(x + p * apart, v), tap, sum[p][v]);
      }
  }
  for (int p = 0; p < kPixels; ++p)
    for (int v = 0; v < kVectors; ++v)
      store_some<Arch>(y + (w + p) * y_pixel + c + v * kW, sum[p][v],
                       v == kVectors - 1 ? lanes : kW);
}

template <class Arch, int kVectors>
ATTN_INLINE void depthwise_channels(const DepthwiseRow& d, int64_t c, int64_t lanes, float* y,
                                    int64_t y_pixel) {
  int64_t w = 0;
  while (w < d.out_width) {
    const int64_t at = w * d.step - d.before;  // column of tap 0
    const int64_t end = (w + 3) * d.step - d.before + d.kw;
    if (at >= 0 && end <= d.in_width && w + 4 <= d.out_width) {
      depthwise_tile<Arch, 4, kVectors>(d, c, lanes, w, 0, d.kw, y, y_pixel);
      w += 4;
      continue;
    }
    const int64_t first = at < 0 ? -at : 0;
    const int64_t last = at + d.kw > d.in_width ? d.in_width - at : d.kw;
    depthwise_tile<Arch, 1, kVectors>(d, c, lanes, w, first, last, y, y_pixel);
    ++w;
  }
}

template <class Arch>
void depthwise_row(const DepthwiseRow& d, float* y, int64_t y_pixel) {
  constexpr int64_t kW = kWidth<Arch>;
  int64_t c = 0;
  for (; c + 2 * kW <= d.channels; c += 2 * kW) depthwise_channels<Arch, 2>(d, c, kW, y, y_pixel);
  for (; c < d.channels; c += kW) {
    const int64_t left = d.channels - c;
    depthwise_channels<Arch, 1>(d, c, left < kW ? left : kW, y, y_pixel);
  }
}

// kTaps taps from j on, over the outputs [first, last) where all of them lie inside.
template <class Arch, int kTaps>
ATTN_INLINE void depthwise_taps(const DepthwiseRow& d, const float* x, int64_t j, int64_t c,
                                int64_t lanes, const float* dy, int64_t y_pixel, float* dk) {
  using V = Vec<Arch>;
  // 0 <= w step + j - before and w step + j + kTaps - 1 - before < in_width
  const int64_t low = d.before - j, high = d.in_width - 1 + d.before - j - (kTaps - 1);
  int64_t first = low <= 0 ? 0 : (low + d.step - 1) / d.step;
  int64_t last = high < 0 ? 0 : high / d.step + 1;
  if (last > d.out_width) last = d.out_width;
  if (first > last) first = last;
  V sum[kTaps];
  for (int t = 0; t < kTaps; ++t) sum[t] = V(0.0f);
  for (int64_t w = first; w < last; ++w) {
    const V g = load_some<Arch>(dy + w * y_pixel + c, lanes);
    const float* from = x + (w * d.step + j - d.before) * d.x_pixel + c;
    for (int t = 0; t < kTaps; ++t)
      sum[t] = fma<Arch>(load_some<Arch>(from + t * d.x_pixel, lanes), g, sum[t]);
  }
  if constexpr (kTaps > 1) {  // outputs where only some of the taps lie inside
    for (int64_t w = 0; w < d.out_width; ++w) {
      if (w == first && w < last) w = last;
      if (w == d.out_width) break;
      const V g = load_some<Arch>(dy + w * y_pixel + c, lanes);
      for (int t = 0; t < kTaps; ++t) {
        const int64_t at = w * d.step + j + t - d.before;
        if (at >= 0 && at < d.in_width)
          sum[t] = fma<Arch>(load_some<Arch>(x + at * d.x_pixel + c, lanes), g, sum[t]);
      }
    }
  }
  for (int t = 0; t < kTaps; ++t) {
    float* to = dk + (j + t) * d.channels + c;
    store_some<Arch>(to, load_some<Arch>(to, lanes) + sum[t], lanes);
  }
}

template <class Arch>
void depthwise_kernel_row(const DepthwiseRow& d, const float* dy, int64_t y_pixel, float* dk) {
  constexpr int64_t kW = kWidth<Arch>;
  for (int64_t c = 0; c < d.channels; c += kW) {
    const int64_t left = d.channels - c, lanes = left < kW ? left : kW;
    for (int64_t i = 0; i < d.rows; ++i) {
      const float* x = d.x + i * d.x_row;
      float* to = dk + i * d.kw * d.channels;
      int64_t j = 0;
      for (; j + 7 <= d.kw; j += 7) depthwise_taps<Arch, 7>(d, x, j, c, lanes, dy, y_pixel, to);
      for (; j + 3 <= d.kw; j += 3) depthwise_taps<Arch, 3>(d, x, j, c, lanes, dy, y_pixel, to);
      for (; j < d.kw; ++j) depthwise_taps<Arch, 1>(d, x, j, c, lanes, dy, y_pixel, to);
    }
  }
}

}  // namespace attn::kernels::simd
