// SPDX-License-Identifier: Apache-2.0
//
// Softmax of rows whose scores other kernels made (attention_bf16.cpp): attention_online's own, six rows at a time.
#pragma once

#include "core/kernels/attention.inl.hpp"

namespace attn::kernels::simd {

template <class Arch>
void attention_softmax(const AttentionSoftmax& x) {
  constexpr int64_t W = kWidth<Arch>;
  AttentionTile t{};
  t.rule = x.rule;
  const Span span{x.begin, x.end, x.begin / W * W, (x.end + W - 1) / W * W};
  for (int64_t r = 0; r < x.rows; r += kTileRows) {
    const int64_t rows = x.rows - r < kTileRows ? x.rows - r : kTileRows;
    float* s = x.s + r * x.ld;
    float alpha[kTileRows];
    if (x.rule->cap != 0) cap_scores<Arch>(x.rule->cap, rows, span, s, x.ld);
    online_softmax<Arch>(t, x.row + r, rows, x.base, span, false, nullptr, s, x.ld, x.max + r,
                         x.sum + r, x.spread == nullptr ? nullptr : x.spread + r, nullptr, alpha);
    for (int64_t i = 0; i < rows && x.o != nullptr; ++i) {
      const Vec<Arch> factor(alpha[i]);
      float* o = x.o + (r + i) * x.o_row;
      for (int64_t d = 0; alpha[i] != 1.0f && d < x.o_row; d += W)
        store<Arch>(o + d, load<Arch>(o + d) * factor);
    }
  }
}

}  // namespace attn::kernels::simd
