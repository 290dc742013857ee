// SPDX-License-Identifier: Apache-2.0
//
// Weights of a tile once more, for those who look at them: scores, weights from what the forward pass kept of each row
// (softmax) or from whole rows (everything else), and what they add to.
#pragma once

#include "core/kernels/attention.inl.hpp"

namespace attn::kernels::simd {

// Weights of one row in a block, softmax, in the place of its scores.
template <class Arch>
ATTN_INLINE void weights_of_scores(const AttentionRule& rule, const ObservedRow& to,
                                   const Span& span, float* s) {
  using V = Vec<Arch>;
  if (!(to.inverse < __builtin_inff())) {  // NaN, of the keys that the row keeps alone
    for (int64_t j = span.first; j < span.last; ++j) s[j] = s[j] == kNever ? 0.0f : to.inverse;
    return;
  }
  const V max(to.max), unit(rule.unit), inverse(to.inverse);
  for (int64_t j = span.first; j < span.last; j += kWidth<Arch>)
    store<Arch>(s + j, exp_of_score<Arch>(s + j, max, unit) * inverse);
}

template <class Arch>
ATTN_INLINE void add_span(const Span& span, const float* w, float* to) {
  for (int64_t j = span.first; j < span.last; j += kWidth<Arch>)
    store<Arch>(to + j, load<Arch>(to + j) + load<Arch>(w + j));
}

// Puts the weights of keys [begin, end) among the greatest of the row, in falling order.
template <class Arch>
__attribute__((noinline)) void keep_top(int64_t top, int64_t base, int64_t begin, int64_t end,
                                        const float* w, float* weight, int64_t* key) {
  constexpr int64_t kLook = 4 * kWidth<Arch>;
  for (int64_t first = begin; first < end; first += kLook) {
    const int64_t limit = first + kLook < end ? first + kLook : end;
    if (limit - first == kLook) {  // mostly there is none
      Vec<Arch> most = load<Arch>(w + first);
      for (int64_t j = first + kWidth<Arch>; j < limit; j += kWidth<Arch>)
        most = max_of<Arch>(load<Arch>(w + j), most);
      if (max_lanes<Arch>(most) <= weight[top - 1]) continue;
    }
    for (int64_t j = first; j < limit; ++j) {
      if (!(w[j] > weight[top - 1])) continue;
      int64_t at = top - 1;
      for (; at > 0 && w[j] > weight[at - 1]; --at) {
        weight[at] = weight[at - 1];
        key[at] = key[at - 1];
      }
      weight[at] = w[j];
      key[at] = base + j;
    }
  }
}

// One row, keys of one block. w: its scores.
template <class Arch>
ATTN_INLINE void observe_row(const AttentionTile& t, const ObservedTile& o, const AttentionRow& row,
                             const ObservedRow& to, int64_t base, const Span& span, float* w) {
  const AttentionRule& rule = *t.rule;
  if (o.softmax) {
    apply_masks<Arch>(rule, row, base, span, w);
    if (rule.has_rest) hide_keys<Arch>(rule, &row, 1, base, span, w, 0);
    raise_to_lowest<Arch>(rule, row, base, span, to.max, w);
    if (to.row_max != nullptr) *to.row_max = span_max<Arch>(span, w, *to.row_max);
    weights_of_scores<Arch>(rule, to, span, w);
  } else {
    (void)row_forward<Arch>(rule, row, span, w);
    fill(w, span.first, span.begin, 0.0f);
    fill(w, span.end, span.last, 0.0f);
  }
  if (to.column != nullptr) add_span<Arch>(span, w, to.column + base);
  if (to.distance != nullptr) add_span<Arch>(span, w, to.distance + base);
  const Piece piece = row_piece(row, base, span);
  if (to.top_key != nullptr)
    keep_top<Arch>(o.top, base, piece.begin, piece.end, w, to.top_weight, to.top_key);
  if (to.map != nullptr) {
    const int64_t begin = piece.begin < o.map_begin - base ? o.map_begin - base : piece.begin;
    const int64_t end = piece.end > o.map_end - base ? o.map_end - base : piece.end;
    for (int64_t j = begin; j < end; ++j) to.map[base + j] = w[j];
  }
}

template <class Arch>
void attention_observe(const AttentionTile& t, const ObservedTile& o) {
  const int64_t q_row = pad16(t.head_dim), ld = tile_stride(t.step);
  float* q = t.scratch;
  float* s = q + t.rows * q_row;
  for (int64_t r = 0; r < t.rows; ++r)
    copy_scaled<Arch>(t.row[r].q, t.head_dim, q_row, t.rule->scale, q + r * q_row);
  const Groups cut = groups<Arch>(t.rows);
  GroupKeys keys[kTileRowsMax / kTileRows + 1];
  const GroupKeys all = tile_keys<Arch>(t, cut, keys);
  for (int64_t base = all.begin / t.step * t.step; base < all.end; base += t.step) {
    const int64_t limit = base + t.step < t.last ? base + t.step : t.last;
    int64_t r0 = 0;
    for (int64_t i = 0; i < cut.count; ++i) {
      const int64_t rows = cut.rows(i);
      const Span span = block_span<Arch>(keys[i], base, limit);
      if (!span.empty()) {
        group_scores<Arch>(t, t.row + r0, rows, q + r0 * q_row, q_row, base, span, s, ld);
        for (int64_t r = r0; r < r0 + rows; ++r) {
          if (t.row[r].begin < t.row[r].end)
            observe_row<Arch>(t, o, t.row[r], o.row[r], base, span, s + (r - r0) * ld);
        }
      }
      r0 += rows;
    }
  }
}

}  // namespace attn::kernels::simd
