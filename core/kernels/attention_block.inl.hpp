// SPDX-License-Identifier: Apache-2.0
//
// Softmax of rows that all meet the same keys, few enough for one block: windows, short texts, image patches. The maximum
// of a row is known before its first exponential, so that no sum is ever corrected, and bias, masks and maximum are taken
// while the scores are still in registers. With what struct Ahead brings a tenth of the time of a layer of windows
// (49 keys, heads of 32).
#pragma once

#include "core/kernels/attention.inl.hpp"

namespace attn::kernels::simd {

// Where the parts of attention_block's scratch are. Maxima: a vector for each row.
struct BlockScratch {
  float *q, *s, *max, *edge;
  int64_t q_row, ld;
};
template <class Arch>
ATTN_INLINE BlockScratch block_layout(const AttentionBlock& t) {
  BlockScratch w{};
  w.q_row = pad16(t.head_dim);
  w.ld = tile_stride(t.keys);
  w.q = t.scratch;
  w.s = w.q + kTileRows * w.q_row;
  w.edge = w.s + kTileRows * w.ld;
  w.max = w.edge + w.ld;
  return w;
}

// Scores of MR rows and NV vectors of keys from key j on; `lanes` of the last vector are keys.
template <class Arch, int MR, int NV>
ATTN_INLINE void block_tile(const AttentionBlock& t, const BlockScratch& w, const float* bias,
                            int64_t j, int64_t lanes) {
  using V = Vec<Arch>;
  constexpr int64_t W = kWidth<Arch>;
  Accumulator<Arch, MR, NV> acc;
  multiply<Arch, MR, NV>(acc, t.head_dim, w.q, w.q_row, 1, t.k_panels + j * t.head_dim,
                         kPanel<Arch>);
  const V never(kNever), bias_scale(t.rule->bias_scale);
  ATTN_UNROLL
  for (int i = 0; i < MR; ++i) {
    V max = load<Arch>(w.max + i * W);
    ATTN_UNROLL
    for (int v = 0; v < NV; ++v) {
      V x = acc.c[i][v];
      const bool part = v == NV - 1 && lanes < W;
      if (bias != nullptr) {
        const float* p = bias + i * t.bias_row + j + v * W;
        const V y = part ? load_first<Arch>(p, lanes) : load<Arch>(p);
        x = xsimd::select(y == never, never, fma<Arch>(y, bias_scale, x));
      }
      // A NaN of a key that is kept becomes infinity, which makes the row NaN too.
      if (part || t.mask != nullptr) x = min_of<Arch>(x, load<Arch>(w.edge + j + v * W));
      max = max_of<Arch>(x, max);
      store<Arch>(w.s + i * w.ld + j + v * W, x);
    }
    store<Arch>(w.max + i * W, max);
  }
}

template <class Arch>
__attribute__((noinline)) void block_scores(const AttentionBlock& t, const BlockScratch& w,
                                            const float* bias, int64_t rows) {
  constexpr int64_t W = kWidth<Arch>, P = kPanel<Arch>;
  for (int64_t r = 0; r < rows; ++r) store<Arch>(w.max + r * W, Vec<Arch>(kLowest));
  with_rows<Arch>(rows, [&](auto mr) {
    for (int64_t j = 0; j < t.keys; j += P) {
      const int64_t columns = t.keys - j < P ? t.keys - j : P, vectors = (columns + W - 1) / W;
      with_vectors<Arch>(vectors, [&](auto nv) {
        block_tile<Arch, mr.value, nv.value>(t, w, bias, j, columns - (vectors - 1) * W);
      });
    }
  });
}

// +infinity for keys that are kept, -infinity for those that are not and behind the last one.
template <class Arch>
ATTN_INLINE void block_edge(const AttentionBlock& t, float* edge) {
  const int64_t n = (t.keys + kWidth<Arch> - 1) / kWidth<Arch> * kWidth<Arch>;
  for (int64_t j = 0; j < n; ++j) {
    const bool kept = j < t.kept && (t.mask == nullptr || t.mask[j] != 0);
    edge[j] = kept ? -kNever : kNever;
  }
}

// Whether rows are left to the caller, marked in t.left: no score of them is above the lowest number.
template <class Arch>
bool attention_block(const AttentionBlock& t) {
  constexpr int64_t W = kWidth<Arch>;
  const AttentionRule& rule = *t.rule;
  const BlockScratch w = block_layout<Arch>(t);
  const Span span{0, t.keys, 0, (t.keys + W - 1) / W * W};
  block_edge<Arch>(t, w.edge);
  const Groups cut = groups<Arch>(t.rows);
  bool any = false;
  int64_t r0 = 0;
  for (int64_t i = 0; i < cut.count; ++i) {
    const int64_t rows = cut.rows(i);
    for (int64_t r = r0; r < r0 + rows; ++r) {
      prefetch_row_to_write(t.o + r * t.o_row, t.value_dim);
      copy_scaled<Arch>(t.q + r * t.q_row, t.head_dim, w.q_row, rule.scale,
                        w.q + (r - r0) * w.q_row);
    }
    prefetch(t.ahead, i, cut.count);
    block_scores<Arch>(t, w, t.bias == nullptr ? nullptr : t.bias + r0 * t.bias_row, rows);
    float max[kTileRows], finish[kTileRows];
    float* out[kTileRows];
    for (int64_t r = 0; r < rows; ++r) max[r] = max_lanes<Arch>(load<Arch>(w.max + r * W));
    for (int64_t r = 0; r < rows; ++r) {
      t.left[r0 + r] = max[r] > kLowest ? 0 : 1;
      any = any || t.left[r0 + r] != 0;
      if (t.sink != kNever && !(t.sink <= max[r])) max[r] = t.sink;  // NaN too
      float* line = w.s + r * w.ld;
      float spread = 0;
      float sum = t.spread == nullptr ? exp_and_sum<Arch>(span, line, max[r], rule.unit)
                                      : exp_and_sums<Arch>(span, line, max[r], rule.unit, spread);
      if (t.sink != kNever) {
        const float shift = t.sink == max[r] ? 0 : (t.sink - max[r]) * rule.unit;
        sum += t.sink == max[r] ? 1.0f : power_of_two<Arch>(shift);
        spread += spread_at<Arch>(0, 1, shift);
      }
      if (t.spread != nullptr) t.spread[r0 + r] = spread;
      if (rule.drop)
        drop<Arch>(rule, t.index + static_cast<uint64_t>((r0 + r) * t.index_row), 0, t.keys, line);
      if (t.saved != nullptr) {
        t.saved[2 * (r0 + r)] = max[r];
        t.saved[2 * (r0 + r) + 1] = sum;
      }
      finish[r] = 1.0f / sum;
      out[r] = t.o + (r0 + r) * t.o_row;
    }
    values<Arch>(rows, t.keys, w.s, w.ld, t.v, t.v_row, t.value_dim,
                 {out, nullptr, finish, finish});
    int64_t r = 0;
    while (r < rows && t.left[r0 + r] != 0) ++r;
    if (t.spoilt != nullptr && r < rows && holds_others<Arch>(out[r], t.value_dim))
      *t.spoilt = true;
    r0 += rows;
  }
  return any;
}

}  // namespace attn::kernels::simd
