// SPDX-License-Identifier: Apache-2.0
//
// Backward kernel of attention: one tile of rows against all keys. The weights are recomputed from what the forward
// pass saved; dq, dk and dv come from the same micro-kernel, with the weights addressed transposed for dk and dv
// (Dao et al. 2022, arXiv 2205.14135, algorithm 4).
//
// softmax works block by block, because sum_j w_j dw_j = dout . o is known before the row is seen; the other kinds
// keep the scores of whole rows. Where one block holds the row, its mean is refined by the row itself; for a part of
// the keys the caller has to know what is left of it.
#pragma once

#include "core/kernels/attention.inl.hpp"

namespace attn::kernels::simd {

// Where the parts of attention_back's scratch are.
struct BackScratch {
  float *q, *dout, *dq, *w, *dw, *factor, *slope, *mean, *before;
  int64_t q_row, v_row, ld;
};

template <class Arch>
ATTN_INLINE BackScratch back_layout(const AttentionBackTile& t) {
  BackScratch s{};
  s.q_row = pad16(t.head_dim);
  s.v_row = pad16(t.value_dim);
  s.ld = tile_stride(t.step);
  s.q = t.scratch;
  s.dout = s.q + t.rows * s.q_row;
  s.dq = s.dout + t.rows * s.v_row;
  s.w = s.dq + t.rows * s.q_row;
  s.dw = s.w + t.rows * s.ld;
  s.factor = s.dw + t.rows * s.ld;
  s.mean = s.factor + s.ld;
  s.slope = s.mean + pad16(t.rows);
  s.before = s.slope + s.ld;
  return s;
}

template <class Arch>
ATTN_INLINE float dot_product(const float* x, const float* y, int64_t n) {
  constexpr int64_t W = kWidth<Arch>;
  Vec<Arch> sum(0.0f);
  for (int64_t d = 0; d < n; d += W) {
    const int64_t lanes = n - d < W ? n - d : W;
    sum = fma<Arch>(load_first<Arch>(x + d, lanes), load_first<Arch>(y + d, lanes), sum);
  }
  return sum_lanes<Arch>(sum);
}

// Copies q and dout into scratch. Softmax by blocks: dout is divided by the sum of the row, so that exponentials serve
// as weights without being normalised. The gradient of lse, which every weight gets a share of, shifts the mean.
template <class Arch>
__attribute__((noinline)) void back_begin(const AttentionBackTile& t, const BackScratch& s,
                                          bool by_blocks) {
  for (int64_t r = 0; r < t.rows; ++r) {
    const AttentionRow& row = t.row[r];
    const bool sees = row.begin < row.end, live = sees && row.dout != nullptr;
    const float inverse = sees && by_blocks ? 1.0f / row.saved[1] : 1.0f;
    copy_scaled<Arch>(row.q, t.head_dim, s.q_row, t.rule->scale, s.q + r * s.q_row);
    if (live) {
      copy_scaled<Arch>(row.dout, t.value_dim, s.v_row, inverse, s.dout + r * s.v_row);
    } else {
      fill(s.dout + r * s.v_row, 0, s.v_row, 0.0f);
    }
    const float mean = live ? dot_product<Arch>(row.dout, row.o, t.value_dim) : 0.0f;
    s.mean[r] = sees && by_blocks ? (mean - row.dlse) * inverse : 0.0f;
    if (row.dsink != nullptr)
      *row.dsink =
          sees && by_blocks ? -s.mean[r] * sink_exp<Arch>(*t.rule, row, row.saved[0]) : 0.0f;
    fill(s.dq + r * s.q_row, 0, s.q_row, 0.0f);
  }
}

// What is left of sum_j w_j (dw_j - mean) = dlse, the sink included, when its keys leave `rest`: what rounding has put
// into the mean. Moves the gradient of the sink.
template <class Arch>
ATTN_INLINE float mean_residue(const AttentionRule& rule, const AttentionRow& row, float mean,
                               float rest) {
  const float share = sink_exp<Arch>(rule, row, row.saved[0]);
  if (share != 0) rest -= share * mean;
  const float residue = (rest - row.dlse) / row.saved[1];
  if (row.dsink != nullptr) *row.dsink -= share * residue;
  return residue;
}

// exp_of_score of a score that was computed again, perhaps in another order: what rounding put above the maximum of the
// forward pass stays below 2. In the usual range nothing comes near; at scores of 1e10 a rounding is a factor of 2^500.
template <class Arch>
ATTN_INLINE Vec<Arch> exp_again(const float* s, Vec<Arch> max, Vec<Arch> unit) {
  // minps gives its second operand when one is NaN.
  return exp2_softmax<Arch>(min_of<Arch>(Vec<Arch>(1.0f), (load<Arch>(s) - max) * unit));
}

// Scores and gradients of weights of one row in one block become weights (with dropout) and gradients of scores.
template <class Arch>
__attribute__((noinline)) double back_row(const AttentionBackTile& t, const BackScratch& s,
                                          int64_t r, int64_t base, const Span& span, bool ruled,
                                          bool by_blocks) {
  using V = Vec<Arch>;
  const AttentionRule& rule = *t.rule;
  const AttentionRow& row = t.row[r];
  float* w = s.w + r * s.ld;
  float* dw = s.dw + r * s.ld;
  double dslope = 0;
  if (rule.cap != 0) cap_scores_with_slope<Arch>(rule.cap, span, w, s.slope);
  if (rule.has_score) {
    for_span<Arch>(span, [&](int64_t j) { store<Arch>(s.before + j, load<Arch>(w + j)); });
    score_rows<Arch>(rule, &row, 1, base, span, w, 0);
  }
  if (rule.has_dmap) {
    const Piece piece = row_piece(row, base, span);
    for (int64_t j = piece.begin; j < piece.end; ++j) dw[j] += row.dmap[base + j];
  }
  if (rule.drop) {
    fill(s.factor, span.first, span.last, 1.0f);
    drop<Arch>(rule, row.index + static_cast<uint64_t>(base), span.begin, span.end, s.factor);
    for_span<Arch>(span, [&](int64_t j) {
      store<Arch>(dw + j, load<Arch>(dw + j) * load<Arch>(s.factor + j));
    });
  }
  if (by_blocks) {
    apply_masks<Arch>(rule, row, base, span, w);
    if (ruled) hide_keys<Arch>(rule, &row, 1, base, span, w, 0);
    raise_to_lowest<Arch>(rule, row, base, span, row.saved[0], w);
    const V max(row.saved[0]), u(rule.unit), mean(s.mean[r]);
    if (t.keys <= t.step && !rule.shard) {
      // The whole row is here: what rounding left of sum_j w_j (dw_j - mean) = 0 goes into the mean. A saturated row
      // has gradients far below the rounding of dw itself.
      V rest(0.0f);
      for_span<Arch>(span, [&](int64_t j) {
        const V e = exp_again<Arch>(w + j, max, u);
        const V d = load<Arch>(dw + j) - mean;
        rest = fma<Arch>(e, d, rest);
        store<Arch>(w + j, e);
        store<Arch>(dw + j, d);
      });
      const V residue(mean_residue<Arch>(rule, row, s.mean[r], sum_lanes<Arch>(rest)));
      for_span<Arch>(span, [&](int64_t j) {
        store<Arch>(dw + j, load<Arch>(w + j) * (load<Arch>(dw + j) - residue));
      });
    } else if (rule.shard) {
      const V residue(row.rest == nullptr ? 0.0f : *row.rest);
      V rest(0.0f);
      for_span<Arch>(span, [&](int64_t j) {
        const V e = exp_again<Arch>(w + j, max, u);
        const V d = e * (load<Arch>(dw + j) - mean - residue);
        rest += d;
        store<Arch>(w + j, e);
        store<Arch>(dw + j, d);
      });
      if (row.rest_sum != nullptr) *row.rest_sum += sum_lanes<Arch>(rest) / row.saved[1];
    } else {
      for_span<Arch>(span, [&](int64_t j) {
        const V e = exp_again<Arch>(w + j, max, u);
        store<Arch>(w + j, e);
        store<Arch>(dw + j, e * (load<Arch>(dw + j) - mean));
      });
    }
  } else {
    dslope = row_backward<Arch>(rule, row, span, w, dw);
  }
  if (rule.drop) {
    for_span<Arch>(
        span, [&](int64_t j) { store<Arch>(w + j, load<Arch>(w + j) * load<Arch>(s.factor + j)); });
  }
  if (row.dbias != nullptr) {
    const Piece piece = row_piece(row, base, span);
    float* out = row.dbias + base * t.dbias_k;
    int64_t j = piece.begin;
    for (; t.dbias_k == 1 && j + kWidth<Arch> <= piece.end; j += kWidth<Arch>)
      store<Arch>(out + j, load<Arch>(out + j) + load<Arch>(dw + j));
    for (; j < piece.end; ++j) out[j * t.dbias_k] += dw[j];
  }
  if (rule.has_score) {
    const ProgramRow of{row.b, row.h, row.p, s.before + span.begin};
    program_back<Arch>(*rule.program, t.program, of, base + span.begin, span.end - span.begin,
                       dw + span.begin);
  }
  if (rule.cap != 0) {
    for_span<Arch>(span, [&](int64_t j) {
      store<Arch>(dw + j, load<Arch>(dw + j) * load<Arch>(s.slope + j));
    });
  }
  return dslope;
}

// out[key, :] += factor * sum over rows r in [first, last) of x[r, key] y[r, :], for up to 6 keys.
template <class Arch, int MR, int NV>
ATTN_INLINE void transposed_tile(int64_t rows, const float* x, int64_t ld, const float* y,
                                 int64_t y_row, float factor, float* out, int64_t out_row) {
  const Vec<Arch> f(factor);
  constexpr int64_t W = kWidth<Arch>;
  Accumulator<Arch, MR, NV> acc;
  multiply<Arch, MR, NV>(acc, rows, x, 1, ld, y, y_row);
  ATTN_UNROLL
  for (int i = 0; i < MR; ++i) {
    ATTN_UNROLL
    for (int j = 0; j < NV; ++j) {
      float* p = out + i * out_row + j * W;
      store<Arch>(p, fma<Arch>(acc.c[i][j], f, load<Arch>(p)));
    }
  }
}

// The same for keys [0, keys) of a block; range(key, &first, &last) tells which rows see keys [key, key + 6).
template <class Arch, class F>
ATTN_INLINE void transposed_product(int64_t keys, const float* x, int64_t ld, const float* y,
                                    int64_t y_row, int64_t depth, float factor, float* out,
                                    int64_t out_row, F&& range) {
  constexpr int64_t W = kWidth<Arch>;
  const int64_t vectors = (depth + W - 1) / W;
  const int64_t tiles = (vectors + kTileVectors<Arch> - 1) / kTileVectors<Arch>;
  for (int64_t j = 0; j < keys; j += kTileRows) {
    const int64_t count = keys - j < kTileRows ? keys - j : kTileRows;
    int64_t first = 0, last = 0;
    range(j, count, first, last);
    if (first >= last) continue;
    int64_t vector = 0;
    for (int64_t tile = 0; tile < tiles; ++tile) {
      const int64_t wide = vectors / tiles + (tile < vectors % tiles ? 1 : 0);
      with_rows<Arch>(count, [&](auto mr) {
        with_vectors<Arch>(wide, [&](auto nv) {
          transposed_tile<Arch, mr.value, nv.value>(last - first, x + first * ld + j, ld,
                                                    y + first * y_row + vector * W, y_row, factor,
                                                    out + j * out_row + vector * W, out_row);
        });
      });
      vector += wide;
    }
  }
}

template <class Arch>
__attribute__((noinline)) void back_keys(const AttentionBackTile& t, const BackScratch& s,
                                         int64_t base, int64_t limit, int64_t first, int64_t last) {
  // Rows of [first, last) that see one of some keys, narrowed from both ends.
  const auto range = [&](int64_t j, int64_t count, int64_t& r0, int64_t& r1) {
    const auto sees = [&](int64_t r) {
      return t.row[r].begin < base + j + count && t.row[r].end > base + j;
    };
    r0 = first;
    r1 = last;
    while (r0 < r1 && !sees(r0)) ++r0;
    while (r1 > r0 && !sees(r1 - 1)) --r1;
  };
  if (t.dv != nullptr) {
    transposed_product<Arch>(limit - base, s.w, s.ld, s.dout, s.v_row, t.value_dim, 1.0f,
                             t.dv + base * t.dv_row, t.dv_row, range);
  }
  if (t.dk != nullptr) {
    transposed_product<Arch>(limit - base, s.dw, s.ld, s.q, s.q_row, t.head_dim, t.dk_scale,
                             t.dk + base * t.dk_row, t.dk_row, range);
  }
}

// Everything of one group of rows in one block except dk and dv. Columns that the group does not see become 0.
template <class Arch>
__attribute__((noinline)) double back_group(const AttentionBackTile& t, const BackScratch& s,
                                            int64_t r0, int64_t rows, int64_t base, int64_t limit,
                                            program::Seen seen, bool by_blocks) {
  Span span = group_span<Arch>(t.row + r0, rows, base, limit);
  const bool ruled = seen == program::Seen::some && !span.empty() &&
                     narrow_span<Arch>(*t.rule, t.row + r0, rows, base, span);
  float* w = s.w + r0 * s.ld;
  float* dw = s.dw + r0 * s.ld;
  double dslope = 0;
  if (!span.empty()) {
    panel_scores<Arch>(rows, s.q + r0 * s.q_row, s.q_row, t.head_dim, t.k_panels, base, span, w,
                       s.ld);
    panel_scores<Arch>(rows, s.dout + r0 * s.v_row, s.v_row, t.value_dim, t.v_panels, base, span,
                       dw, s.ld);
    for (int64_t r = r0; r < r0 + rows; ++r) {
      if (t.row[r].begin < t.row[r].end) {
        dslope += back_row<Arch>(t, s, r, base, span, ruled, by_blocks);
      } else {
        fill(s.w + r * s.ld, span.first, span.last, 0.0f);
        fill(s.dw + r * s.ld, span.first, span.last, 0.0f);
      }
    }
    float* out[kTileRows];
    const float* before[kTileRows];
    const float ones[kTileRows] = {1, 1, 1, 1, 1, 1};
    for (int64_t r = 0; r < rows; ++r) before[r] = out[r] = s.dq + (r0 + r) * s.q_row;
    const ValueSink sink{out, before, ones, ones};
    values<Arch>(rows, span.end - span.begin, dw + span.begin, s.ld,
                 t.k + (base + span.begin) * t.k_row, t.k_row, t.head_dim, sink);
  }
  for (int64_t r = 0; r < rows; ++r) {
    fill(w + r * s.ld, 0, span.first, 0.0f);
    fill(w + r * s.ld, span.last, limit - base, 0.0f);
    fill(dw + r * s.ld, 0, span.first, 0.0f);
    fill(dw + r * s.ld, span.last, limit - base, 0.0f);
  }
  return dslope;
}

template <class Arch>
void attention_back(const AttentionBackTile& t) {
  const BackScratch s = back_layout<Arch>(t);
  const bool by_blocks = t.rule->probability.kind == Probability::softmax && !t.rule->has_dmap;
  back_begin<Arch>(t, s, by_blocks);
  const Groups cut = groups<Arch>(t.rows);
  double dslope = 0;
  for (int64_t base = 0; base < t.keys; base += t.step) {
    const int64_t limit = base + t.step < t.keys ? base + t.step : t.keys;
    int64_t first = t.rows, last = 0;
    for (int64_t r = 0; r < t.rows; ++r) {
      if (t.row[r].begin < limit && t.row[r].end > base) {
        first = r < first ? r : first;
        last = r + 1;
      }
    }
    if (first >= last) continue;
    program::Seen seen = program::Seen::all;
    if (t.rule->has_rest && by_blocks) seen = rows_see(*t.rule, t.row, t.rows, base, limit);
    if (seen == program::Seen::none) continue;
    int64_t r0 = 0;
    for (int64_t i = 0; i < cut.count; ++i) {
      const int64_t rows = cut.rows(i);
      if (r0 < last && r0 + rows > first)
        dslope += back_group<Arch>(t, s, r0, rows, base, limit, seen, by_blocks);
      if (limit == t.keys) prefetch(t.ahead, i, cut.count);
      r0 += rows;
    }
    back_keys<Arch>(t, s, base, limit, first, last);
  }
  if (t.dslope != nullptr) *t.dslope += dslope;
  for (int64_t r = 0; r < t.rows; ++r) {
    float* dq = t.row[r].dq;
    if (dq == nullptr) continue;
    for (int64_t d = 0; d < t.head_dim; ++d) dq[d] += t.dq_scale * s.dq[r * s.q_row + d];
  }
}

}  // namespace attn::kernels::simd
