// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/kernels/simd.hpp"

namespace attn::kernels::simd {

// Reads n floats, a multiple of 128, and gives their sum.
template <class Arch>
float read_line(int64_t n, const float* x) {
  using V = Vec<Arch>;
  constexpr int kSums = 8;
  V sum[kSums];
  for (int i = 0; i < kSums; ++i) sum[i] = V(0.0f);
  for (int64_t at = 0; at < n; at += kSums * kWidth<Arch>)
    for (int i = 0; i < kSums; ++i) sum[i] = sum[i] + load<Arch>(x + at + i * kWidth<Arch>);
  for (int i = 1; i < kSums; ++i) sum[0] = sum[0] + sum[i];
  return sum_lanes<Arch>(sum[0]);
}

// Copies n floats, a multiple of 128, past the caches where the level can; y is aligned to a vector.
template <class Arch>
void copy_past_caches(int64_t n, const float* x, float* y) {
  for (int64_t i = 0; i < n; i += kWidth<Arch>) stream<Arch>(y + i, load<Arch>(x + i));
  Isa<Arch>::streamed();
}

}  // namespace attn::kernels::simd
