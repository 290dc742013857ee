// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/kernels/simd.hpp"

namespace attn::kernels::simd {

// `rounds` rounds of 12 independent multiply-add chains that never leave the registers. Returns the number
// of floating-point operations; the result is kept alive by being folded into its last bits.
template <class Arch>
double fma_chains(int64_t rounds) {
  using V = Vec<Arch>;
  constexpr int kChains = 12;
  V chain[kChains];
  for (int i = 0; i < kChains; ++i) chain[i] = V(1.0f + 0.001f * static_cast<float>(i));
  V a(0.999999f);
  V b(1e-7f);
  __asm__ volatile("" : "+m"(a.data), "+m"(b.data));
  for (int64_t r = 0; r < rounds; ++r) {
    for (int i = 0; i < kChains; ++i) chain[i] = fma<Arch>(chain[i], a, b);
  }
  V total = chain[0];
  for (int i = 1; i < kChains; ++i) total = total + chain[i];
  const double keep = sum_lanes<Arch>(total) > 1e30f ? 1.0 : 0.0;
  return 2.0 * kChains * static_cast<double>(kWidth<Arch>) * static_cast<double>(rounds) + keep;
}

}  // namespace attn::kernels::simd
