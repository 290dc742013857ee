// SPDX-License-Identifier: Apache-2.0
//
// Forward kernels of attention. Lanes are keys. A group of 6 rows goes through scores, softmax and values while its
// scores are in L1. Two forms: `online` for softmax (running maximum and sum over blocks of keys; Milakov, Gimelshein
// 2018, arXiv 1805.02867; Dao et al. 2022, arXiv 2205.14135), and `whole` for everything that needs the row's
// normaliser before the values.
#pragma once

#include "core/kernels/attention_few.inl.hpp"
#include "core/kernels/attention_probability.inl.hpp"
#include "core/kernels/attention_scores.inl.hpp"
#include "core/kernels/attention_sparse.inl.hpp"

namespace attn::kernels::simd {

template <class Arch, int MR, int NV, bool kLast>
ATTN_INLINE void weigh(Accumulator<Arch, MR, NV>& acc, int64_t keys, const float* p, int64_t ld,
                       const float* v, int64_t v_row, int64_t last) {
  multiply<Arch, MR, NV, kLast>(acc, keys, p, ld, 1, v, v_row, last);
}

template <class Arch, int MR, int NV, bool kLast, class Keys>
ATTN_INLINE void values_tile(const Keys& keys, const float* p, int64_t ld, const float* v,
                             int64_t v_row, int64_t last, const ValueSink& sink, int64_t column) {
  using V = Vec<Arch>;
  constexpr int64_t W = kWidth<Arch>;
  Accumulator<Arch, MR, NV> acc;
  weigh<Arch, MR, NV, kLast>(acc, keys, p, ld, v + column, v_row, last);
  ATTN_UNROLL
  for (int i = 0; i < MR; ++i) {
    const V finish(sink.finish[i]);
    float* out = sink.out[i] + column;
    if (sink.before != nullptr) {
      const V alpha(sink.alpha[i]);
      const float* before = sink.before[i] + column;
      ATTN_UNROLL
      for (int j = 0; j < NV; ++j)
        acc.c[i][j] = fma<Arch>(load<Arch>(before + j * W), alpha, acc.c[i][j]);
    }
    ATTN_UNROLL
    for (int j = 0; j < NV; ++j) {
      if (kLast && j == NV - 1) {
        store_first<Arch>(out + j * W, acc.c[i][j] * finish, last);
      } else {
        store<Arch>(out + j * W, acc.c[i][j] * finish);
      }
    }
  }
}

// sum over keys of p[r, key] v[key, :] for a group of rows. The columns are cut into equal tiles. keys: how many, or a
// list.
template <class Arch, class Keys>
__attribute__((noinline)) void values(int64_t rows, const Keys& keys, const float* p, int64_t ld,
                                      const float* v, int64_t v_row, int64_t value_dim,
                                      const ValueSink& sink) {
  constexpr int64_t W = kWidth<Arch>;
  const int64_t vectors = (value_dim + W - 1) / W;
  const int64_t tiles = (vectors + kTileVectors<Arch> - 1) / kTileVectors<Arch>;
  const int64_t last = value_dim - (vectors - 1) * W;
  int64_t vector = 0;
  for (int64_t t = 0; t < tiles; ++t) {
    const int64_t count = vectors / tiles + (t < vectors % tiles ? 1 : 0);
    const bool partial = vector + count == vectors && last < W;
    with_rows<Arch>(rows, [&](auto mr) {
      with_vectors<Arch>(count, [&](auto nv) {
        if (partial) {
          values_tile<Arch, mr.value, nv.value, true>(keys, p, ld, v, v_row, last, sink,
                                                      vector * W);
        } else {
          values_tile<Arch, mr.value, nv.value, false>(keys, p, ld, v, v_row, W, sink, vector * W);
        }
      });
    });
    vector += count;
  }
}

template <class Arch>
__attribute__((noinline)) void group_scores(const AttentionTile& t, const AttentionRow* row,
                                            int64_t rows, const float* q, int64_t q_row,
                                            int64_t base, const Span& span, float* s, int64_t ld) {
  if (t.k_panels != nullptr) {
    panel_scores<Arch>(rows, q, q_row, t.head_dim, t.k_panels, base, span, s, ld);
  } else {
    few_scores<Arch>(t, rows, q, q_row, base, span, s, ld);
  }
  if (t.rule->cap != 0) cap_scores<Arch>(t.rule->cap, rows, span, s, ld);
  if (t.rule->has_score) score_rows<Arch>(*t.rule, row, rows, base, span, s, ld);
}

template <class Arch>
ATTN_INLINE void group_values(const AttentionTile& t, int64_t rows, int64_t base, const Span& span,
                              const float* s, int64_t ld, const ValueSink& sink) {
  values<Arch>(rows, span.end - span.begin, s + span.begin, ld, t.v + (base + span.begin) * t.v_row,
               t.v_row, t.value_dim, sink);
}

ATTN_INLINE void write_zero_row(const AttentionTile& t, const AttentionRow& row) {
  fill(row.o, 0, t.value_dim, 0.0f);
  if (t.rule->has_map) fill(row.map, 0, t.keys, 0.0f);
  if (row.saved != nullptr) {
    fill(row.saved, 0, saved_per_row(t.rule->probability.kind), 0.0f);
  }
  if (row.spread != nullptr) *row.spread = 0.0f;
}

// Whether n > 0 numbers at p are not all finite.
template <class Arch>
ATTN_INLINE bool holds_others(const float* p, int64_t n) {
  constexpr int64_t W = kWidth<Arch>;
  const Vec<Arch> nothing(0.0f);
  Vec<Arch> sum = nothing;
  for (int64_t d = 0; d < n; d += W)
    sum = fma<Arch>(load_first<Arch>(p + d, n - d < W ? n - d : W), nothing, sum);
  return !(sum_lanes<Arch>(sum) == 0);
}

// A value that is no number spoils its column of all rows of a group, whatever their weights: one row tells.
template <class Arch>
ATTN_INLINE void look_for_spoilt(const AttentionTile& t, const AttentionRow* row, int64_t rows) {
  if (t.spoilt == nullptr) return;
  int64_t r = 0;
  while (r < rows && row[r].begin >= row[r].end) ++r;
  if (r < rows && holds_others<Arch>(row[r].o, t.value_dim)) *t.spoilt = true;
}

// A spread so far by a maximum that is greater: exponents fall by -shift.
template <class Arch>
ATTN_INLINE float spread_at(float spread, float sum, float shift) {
  if (sum == 0 || shift <= kNoPower) return 0;
  return power_of_two<Arch>(shift) * (spread + shift * sum);
}

// Scores of a row, none above m, become exponentials, and what the row has so far, of a maximum `max`, moves to m.
// Returns what its sums have to be multiplied with. spread: nullptr where it is not wanted.
template <class Arch, class S>
ATTN_INLINE float online_sums(const AttentionRule& rule, const S& span, float* line, float m,
                              float& max, float& sum, float* spread) {
  float own = 0;
  const float l = spread == nullptr ? exp_and_sum<Arch>(span, line, m, rule.unit)
                                    : exp_and_sums<Arch>(span, line, m, rule.unit, own);
  if (spread != nullptr) *spread = own + spread_at<Arch>(*spread, sum, (max - m) * rule.unit);
  float alpha = 1.0f;
  if (sum == 0) {  // nothing so far
    sum = l;
  } else if (m == max) {
    sum += l;
  } else {
    alpha = power_of_two<Arch>((max - m) * rule.unit);
    sum = sum * alpha + l;
  }
  max = m;
  return alpha;
}

// Softmax of one group in one block. Returns in alpha what the sums so far have to be multiplied with. spread: nullptr
// where it is not wanted. ruled: the mask rule is asked about every key, unless `seen` tells. alive: set to 1 for rows
// with a key that counts; nullptr: not looked at.
template <class Arch>
__attribute__((noinline)) void online_softmax(const AttentionTile& t, const AttentionRow* row,
                                              int64_t rows, int64_t base, const Span& span,
                                              bool ruled, const SeenKeys* seen, float* s,
                                              int64_t ld, float* max, float* sum, float* spread,
                                              float* alive, float* alpha) {
  const AttentionRule& rule = *t.rule;
  float now[kFewRows];  // all maxima before all exponentials: their latencies overlap
  for (int64_t r = 0; ruled && r < rows; ++r) {
    if (seen != nullptr)
      hide_others<Arch>(span, seen->keep[r], s + r * ld);
    else
      apply_masks<Arch>(rule, row[r], base, span, s + r * ld);
  }
  if (ruled && seen == nullptr) hide_keys<Arch>(rule, row, rows, base, span, s, ld);
  for (int64_t r = 0; alive != nullptr && r < rows; ++r) {
    if (!ruled) apply_masks<Arch>(rule, row[r], base, span, s + r * ld);
    if (alive[r] == 0 && !nothing_counts<Arch>(span, s + r * ld)) alive[r] = 1.0f;
  }
  for (int64_t r = 0; r < rows; ++r) {
    if (!ruled && alive == nullptr) apply_masks<Arch>(rule, row[r], base, span, s + r * ld);
    now[r] = span_max<Arch>(span, s + r * ld, max[r]);
    now[r] = raise_to_lowest<Arch>(rule, row[r], base, span, now[r], s + r * ld);
  }
  for (int64_t r = 0; r < rows; ++r) {
    float* line = s + r * ld;
    alpha[r] = online_sums<Arch>(rule, span, line, now[r], max[r], sum[r],
                                 spread == nullptr ? nullptr : spread + r);
    if (rule.drop) {
      drop<Arch>(rule, row[r].index + static_cast<uint64_t>(base), span.begin, span.end, line);
    }
  }
}

// Keys that some row of a group can have, clipped to [first, last). Empty: begin >= end.
struct GroupKeys {
  int64_t begin, end;
};
ATTN_INLINE GroupKeys group_keys(const AttentionRow* row, int64_t rows, int64_t first,
                                 int64_t last) {
  GroupKeys keys{last, first};
  for (int64_t r = 0; r < rows; ++r) {
    if (row[r].begin >= row[r].end) continue;
    keys.begin = row[r].begin < keys.begin ? row[r].begin : keys.begin;
    keys.end = row[r].end > keys.end ? row[r].end : keys.end;
  }
  keys.begin = keys.begin < first ? first : keys.begin;
  keys.end = keys.end > last ? last : keys.end;
  return keys;
}

// The part of them in a block, relative to its base.
template <class Arch>
ATTN_INLINE Span block_span(const GroupKeys& keys, int64_t base, int64_t limit) {
  constexpr int64_t W = kWidth<Arch>;
  const int64_t begin = keys.begin < base ? base : keys.begin,
                end = keys.end > limit ? limit : keys.end;
  if (begin >= end) return {0, 0, 0, 0};
  return {begin - base, end - base, (begin - base) / W * W, (end - base + W - 1) / W * W};
}

// Where the parts of attention_online's scratch are: queries, sums of values, scores of a group, and of each row maximum
// and sum so far.
struct OnlineScratch {
  float *q, *o, *s, *max, *sum, *spread, *alive;
  int64_t q_row, o_row, ld;
};
ATTN_INLINE OnlineScratch online_layout(const AttentionTile& t) {
  OnlineScratch w{};
  w.q_row = pad16(t.head_dim);
  w.o_row = pad16(t.value_dim);
  w.ld = tile_stride(t.step);
  w.q = t.scratch;
  w.o = w.q + t.rows * w.q_row;
  w.s = w.o + t.rows * w.o_row;
  w.max = w.s + (t.k_panels == nullptr ? kFewRows : kTileRows) * w.ld;
  w.sum = w.max + pad16(t.rows);
  w.spread = w.sum + pad16(t.rows);
  w.alive = w.spread + pad16(t.rows);
  return w;
}

// Copies the queries and lets every row begin: with its sink, or, where parts are merged, with nothing.
template <class Arch>
ATTN_INLINE void online_begin(const AttentionTile& t, const OnlineScratch& w) {
  for (int64_t r = 0; r < t.rows; ++r) {
    const AttentionRow& row = t.row[r];
    if (r + kFar < t.rows) prefetch_row(t.row[r + kFar].q, t.head_dim);
    copy_scaled<Arch>(row.q, t.head_dim, w.q_row, t.rule->scale, w.q + r * w.q_row);
    const bool sink = row.sink != kNever && t.partial == nullptr;
    w.max[r] = sink ? row.sink : kLowest;
    w.sum[r] = sink ? 1.0f : 0.0f;
    w.spread[r] = 0.0f;
    w.alive[r] = 0.0f;
    if (t.partial != nullptr) {
      float* p = t.partial + r * (kPartialHead + t.value_dim);
      fill(p, 1, kPartialHead + t.value_dim, 0.0f);
      p[0] = kNever;
    } else if (row.begin >= row.end) {
      write_zero_row(t, row);
    }
  }
}

// The keys of every group of a tile, and of all.
template <class Arch>
ATTN_INLINE GroupKeys tile_keys(const AttentionTile& t, const Groups& cut, GroupKeys* keys) {
  GroupKeys all{t.last, t.first};
  for (int64_t i = 0, r0 = 0; i < cut.count; ++i) {
    const int64_t rows = cut.rows(i);
    keys[i] = group_keys(t.row + r0, rows, t.first, t.last);
    all.begin = keys[i].begin < all.begin ? keys[i].begin : all.begin;
    all.end = keys[i].end > all.end ? keys[i].end : all.end;
    r0 += rows;
  }
  return all;
}

// What a group leaves of a part of the keys.
ATTN_INLINE void online_write_partial(const AttentionTile& t, const OnlineScratch& w, int64_t r0,
                                      int64_t rows) {
  for (int64_t r = r0; r < r0 + rows; ++r) {
    if (t.row[r].begin >= t.row[r].end || (t.rule->empties && w.alive[r] == 0)) continue;
    float* p = t.partial + r * (kPartialHead + t.value_dim);
    p[0] = w.max[r];
    p[1] = w.sum[r];
    p[2] = w.spread[r];
    for (int64_t d = 0; d < t.value_dim; ++d) p[kPartialHead + d] = w.o[r * w.o_row + d];
  }
}

// Rows of a group whose last block a mask rule may have left out: what they have of it, or zeros.
template <class Arch>
ATTN_INLINE void online_finish(const AttentionTile& t, const OnlineScratch& w, int64_t r0,
                               int64_t rows, bool started) {
  if (t.partial != nullptr) {
    if (started) online_write_partial(t, w, r0, rows);
    return;
  }
  for (int64_t r = r0; r < r0 + rows; ++r) {
    const AttentionRow& row = t.row[r];
    if (row.begin >= row.end) continue;
    if (!started || w.alive[r] == 0) {
      write_zero_row(t, row);
      continue;
    }
    const float finish = 1.0f / w.sum[r];
    for (int64_t d = 0; d < t.value_dim; ++d) row.o[d] = w.o[r * w.o_row + d] * finish;
    if (row.saved != nullptr) {
      row.saved[0] = w.max[r];
      row.saved[1] = w.sum[r];
    }
    if (row.spread != nullptr) *row.spread = w.spread[r];
  }
  int64_t first = r0;  // rows without keys tell nothing of values
  while (first < r0 + rows && (w.alive[first] == 0 || t.row[first].begin >= t.row[first].end))
    ++first;
  if (started && first < r0 + rows) look_for_spoilt<Arch>(t, t.row + first, 1);
}

// The scores of listed keys, softmax, and values of a group. first: its rows have nothing yet.
template <class Arch>
__attribute__((noinline)) void sparse_block(const AttentionTile& t, const OnlineScratch& w,
                                            int64_t r0, int64_t rows, int64_t base,
                                            const SeenKeys& seen, bool first) {
  constexpr int64_t W = kWidth<Arch>;
  const AttentionRule& rule = *t.rule;
  const AttentionRow* row = t.row + r0;
  const Span line{0, seen.count * W, 0, seen.count * W};
  seen_scores<Arch>(rows, w.q + r0 * w.q_row, w.q_row, t.head_dim, t.k_panels, base, seen, w.s,
                    w.ld);
  if (rule.cap != 0) cap_scores<Arch>(rule.cap, rows, line, w.s, w.ld);
  if (rule.has_score) seen_program<Arch>(t, row, rows, base, seen, w.s, w.ld);
  float now[kTileRows], alpha[kTileRows];
  for (int64_t r = 0; r < rows; ++r) {
    float* s = w.s + r * w.ld;
    now[r] = hide_others<Arch>(seen, seen.keep[r], s, w.max[r0 + r]);
    if (w.alive[r0 + r] == 0 && !nothing_counts<Arch>(line, s)) w.alive[r0 + r] = 1.0f;
  }
  float* out[kTileRows];
  const float* before[kTileRows];
  const float ones[kTileRows] = {1, 1, 1, 1, 1, 1};
  for (int64_t r = 0; r < rows; ++r) {
    float* s = w.s + r * w.ld;
    alpha[r] = online_sums<Arch>(rule, seen, s, now[r], w.max[r0 + r], w.sum[r0 + r],
                                 rule.has_spread ? w.spread + r0 + r : nullptr);
    if (rule.drop) drop<Arch>(rule, row[r].index + static_cast<uint64_t>(base), seen, s);
    before[r] = out[r] = w.o + (r0 + r) * w.o_row;
  }
  values<Arch>(rows, seen, w.s, w.ld, t.v + base * t.v_row, t.v_row, t.value_dim,
               {out, first ? nullptr : before, alpha, ones});
}

// Rows [r0, r0 + rows), a group, and keys [from, limit). After the last block of the group its rows are complete; in
// between their sums stay in scratch. Under a mask rule that may leave out blocks, online_finish() completes them; seen
// is what it says of the block, started whether the group has met one, and asks whether parts of the block are worth a
// question, which groups of a block pass on.
template <class Arch>
ATTN_INLINE void online_block(const AttentionTile& t, const OnlineScratch& w, int64_t r0,
                              int64_t rows, const GroupKeys& keys, int64_t from, int64_t limit,
                              program::Seen seen, bool& started, bool& asks) {
  const AttentionRow* row = t.row + r0;
  Span span = block_span<Arch>(keys, from, limit);
  if (span.empty()) return;
  const bool rest = t.rule->has_rest;
  const bool looks = t.k_panels != nullptr && !t.rule->has_bias;
  bool ruled = seen == program::Seen::some;
  BoxesSeen boxes;
  if (ruled && looks && !asks) {
    take_all_boxes(span, boxes);
  } else if (ruled) {
    ruled = narrow_span<Arch>(*t.rule, row, rows, from, span, &boxes);
    if (span.empty()) return;
    asks = !are_all_mixed(span, boxes);
  }
  SeenKeys keys_seen;
  const bool looked = ruled && looks;
  if (looked) {
    if (!look_at_keys<Arch>(*t.rule, row, rows, from, limit, boxes, w.s, w.ld, span, keys_seen))
      return;
    if (is_sparse<Arch>(span, keys_seen)) {
      sparse_block<Arch>(t, w, r0, rows, from, keys_seen, !started);
      started = true;
      return;
    }
  }
  const bool starts = rest ? !started : keys.begin >= from;
  const bool ends = keys.end <= limit && !rest;
  started = true;
  const bool completes = ends && t.partial == nullptr;
  if (completes) {
    for (int64_t r = 0; r < rows; ++r) prefetch_row_to_write(row[r].o, t.value_dim);
  }
  group_scores<Arch>(t, row, rows, w.q + r0 * w.q_row, w.q_row, from, span, w.s, w.ld);
  float alpha[kFewRows], finish[kFewRows];
  float* const alive = t.rule->empties ? w.alive + r0 : nullptr;
  online_softmax<Arch>(t, row, rows, from, span, ruled, looked ? &keys_seen : nullptr, w.s, w.ld,
                       w.max + r0, w.sum + r0, t.rule->has_spread ? w.spread + r0 : nullptr, alive,
                       alpha);
  float* out[kFewRows];
  const float* before[kFewRows];
  for (int64_t r = 0; r < rows; ++r) {
    const bool to_output = completes && row[r].begin < row[r].end;
    before[r] = w.o + (r0 + r) * w.o_row;
    out[r] = to_output ? row[r].o : w.o + (r0 + r) * w.o_row;
    finish[r] = to_output ? 1.0f / w.sum[r0 + r] : 1.0f;
    if (to_output && row[r].saved != nullptr) {
      row[r].saved[0] = w.max[r0 + r];
      row[r].saved[1] = w.sum[r0 + r];
    }
    if (to_output && row[r].spread != nullptr) *row[r].spread = w.spread[r0 + r];
  }
  const ValueSink sink{out, starts ? nullptr : before, alpha, finish};
  if (t.k_panels == nullptr) {
    few_values<Arch>(t, rows, from, span, w.s, w.ld, sink);
  } else {
    group_values<Arch>(t, rows, from, span, w.s, w.ld, sink);
  }
  for (int64_t r = 0; completes && t.rule->has_score && r < rows; ++r)
    if (row[r].begin < row[r].end && alive[r] == 0) write_zero_row(t, row[r]);
  if (completes) look_for_spoilt<Arch>(t, row, rows);
  if (ends && t.partial != nullptr) online_write_partial(t, w, r0, rows);
}

// A tile of rows, softmax.
template <class Arch>
void attention_online(const AttentionTile& t) {
  const OnlineScratch w = online_layout(t);
  online_begin<Arch>(t, w);
  // A program takes kTileRows rows at most.
  const Groups cut = t.k_panels != nullptr
                         ? groups<Arch>(t.rows)
                         : groups_of(t.rule->program == nullptr ? kFewRows : kFewTogether, t.rows);
  GroupKeys keys[kTileRowsMax / kTileRows + 1];
  const GroupKeys all = tile_keys<Arch>(t, cut, keys);
  bool started[kTileRowsMax / kTileRows + 1] = {};
  for (int64_t base = all.begin / t.step * t.step; base < all.end; base += t.step) {
    const int64_t limit = base + t.step < t.last ? base + t.step : t.last;
    const int64_t from = base < t.first ? t.first : base;
    const program::Seen seen =
        t.rule->has_rest ? rows_see(*t.rule, t.row, t.rows, from, limit) : program::Seen::all;
    if (seen == program::Seen::none) continue;
    bool asks = true;
    int64_t r0 = 0;
    for (int64_t i = 0; i < cut.count; ++i) {
      const int64_t rows = cut.rows(i);
      online_block<Arch>(t, w, r0, rows, keys[i], from, limit, seen, started[i], asks);
      r0 += rows;
    }
  }
  for (int64_t i = 0, r0 = 0; t.rule->has_rest && i < cut.count; ++i) {
    const int64_t rows = cut.rows(i);
    online_finish<Arch>(t, w, r0, rows, started[i]);
    r0 += rows;
  }
}

// One row from the parts that attention_online left for ranges of keys: parts[i * stride] is part i. A maximum of
// -infinity: the row has no key there. The sink enters here, once.
template <class Arch>
void attention_merge(int64_t parts, const float* part, int64_t stride, int64_t value_dim,
                     float unit, float sink, float* o, float* saved, float* spread) {
  float max = kNever, sum = 0, all = 0;
  for (int64_t i = 0; i < parts; ++i) {
    const float* p = part + i * stride;
    if (p[0] > max) max = p[0];
  }
  fill(o, 0, value_dim, 0.0f);
  if (max == kNever) {
    if (saved != nullptr) saved[0] = saved[1] = 0;
    if (spread != nullptr) *spread = 0;
    return;
  }
  if (sink != kNever) {
    max = sink <= max ? max : sink;  // NaN too
    sum = power_of_two<Arch>((sink - max) * unit);
    all = spread_at<Arch>(0, 1, (sink - max) * unit);
  }
  for (int64_t i = 0; i < parts; ++i) {
    const float* p = part + i * stride;
    if (p[1] == 0) continue;
    const float a = power_of_two<Arch>((p[0] - max) * unit);
    sum += p[1] * a;
    all += spread_at<Arch>(p[2], p[1], (p[0] - max) * unit);
    for (int64_t d = 0; d < value_dim; ++d) o[d] += p[kPartialHead + d] * a;
  }
  if (saved != nullptr) {
    saved[0] = max;
    saved[1] = sum;
  }
  if (spread != nullptr) *spread = all;
  const float finish = 1.0f / sum;
  for (int64_t d = 0; d < value_dim; ++d) o[d] *= finish;
}

// Scores of all rows of a tile over all keys.
template <class Arch>
ATTN_INLINE void whole_scores(const AttentionTile& t, const Groups& cut, const float* q,
                              int64_t q_row, float* s, int64_t ld) {
  for (int64_t base = 0; base < t.keys; base += t.step) {
    const int64_t limit = base + t.step < t.keys ? base + t.step : t.keys;
    int64_t r0 = 0;
    for (int64_t i = 0; i < cut.count; ++i) {
      const int64_t rows = cut.rows(i);
      const Span span = group_span<Arch>(t.row + r0, rows, base, limit);
      if (!span.empty()) {
        group_scores<Arch>(t, t.row + r0, rows, q + r0 * q_row, q_row, base, span,
                           s + r0 * ld + base, ld);
      }
      r0 += rows;
    }
  }
}

// Weights of all rows times values. o: sums of the rows, pad16(value_dim) apart.
template <class Arch>
ATTN_INLINE void whole_values(const AttentionTile& t, const Groups& cut, const float* s, int64_t ld,
                              float* o) {
  const float ones[kTileRows] = {1, 1, 1, 1, 1, 1};
  const int64_t o_row = pad16(t.value_dim);
  for (int64_t base = 0; base < t.keys; base += t.step) {
    const int64_t limit = base + t.step < t.keys ? base + t.step : t.keys;
    int64_t r0 = 0;
    for (int64_t i = 0; i < cut.count; ++i) {
      const int64_t rows = cut.rows(i);
      const AttentionRow* row = t.row + r0;
      const Span span = group_span<Arch>(row, rows, base, limit);
      const Span all = group_span<Arch>(row, rows, 0, t.keys);
      if (!span.empty()) {
        float* out[kTileRows];
        const float* before[kTileRows];
        for (int64_t r = 0; r < rows; ++r) {
          before[r] = o + (r0 + r) * o_row;
          const bool to_output = all.end <= limit && row[r].begin < row[r].end;
          out[r] = to_output ? row[r].o : o + (r0 + r) * o_row;
        }
        const ValueSink sink{out, all.begin >= base ? nullptr : before, ones, ones};
        group_values<Arch>(t, rows, base, span, s + r0 * ld + base, ld, sink);
        if (all.end <= limit) look_for_spoilt<Arch>(t, row, rows);
      }
      r0 += rows;
    }
  }
}

// A tile of rows, any kind of probability, with or without the map: the scores of whole rows are kept.
template <class Arch>
void attention_whole(const AttentionTile& t) {
  const AttentionRule& rule = *t.rule;
  const int64_t q_row = pad16(t.head_dim), ld = tile_stride(t.keys);
  float* q = t.scratch;
  float* o = q + t.rows * q_row;
  float* s = o + t.rows * pad16(t.value_dim);
  for (int64_t r = 0; r < t.rows; ++r) {
    copy_scaled<Arch>(t.row[r].q, t.head_dim, q_row, rule.scale, q + r * q_row);
    if (t.row[r].begin >= t.row[r].end) write_zero_row(t, t.row[r]);
  }
  const Groups cut = groups<Arch>(t.rows);
  whole_scores<Arch>(t, cut, q, q_row, s, ld);
  int64_t r0 = 0;
  for (int64_t i = 0; i < cut.count; ++i) {
    const int64_t rows = cut.rows(i);
    const Span span = group_span<Arch>(t.row + r0, rows, 0, t.keys);
    for (int64_t r = r0; r < r0 + rows; ++r) {
      const AttentionRow& row = t.row[r];
      float* line = s + r * ld;
      if (row.begin >= row.end) {
        fill(line, span.first, span.last, 0.0f);
        continue;
      }
      if (!row_forward<Arch>(rule, row, span, line)) {
        write_zero_row(t, row);
        continue;
      }
      if (rule.drop) drop<Arch>(rule, row.index, span.begin, span.end, line);
      if (rule.has_map) {
        fill(row.map, 0, span.begin, 0.0f);
        for (int64_t j = span.begin; j < span.end; ++j) row.map[j] = line[j];
        fill(row.map, span.end, t.keys, 0.0f);
      }
    }
    r0 += rows;
  }
  whole_values<Arch>(t, cut, s, ld, o);
}

}  // namespace attn::kernels::simd
