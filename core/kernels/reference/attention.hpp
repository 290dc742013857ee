// SPDX-License-Identifier: Apache-2.0
//
// Attention and its gradient, row by row, as the formulas of common-masks.md and common-probability.md say. The
// oracle of core/kernels/attention.hpp (whose arguments it shares), the float64 path and ATTN_ISA=reference.
// Scratch: kRowArrays arrays of K elements. [any-thread]
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "core/kernels/attention.hpp"
#include "core/kernels/reference/probability.hpp"
#include "core/random/philox.hpp"

namespace attn::kernels::reference {

inline constexpr int kRowArrays = 11;

// What multiplies weight number `index` of the (B, H, Q, K) weights: 0, or 1 / (1 - rate).
inline double dropout_factor(double rate, uint64_t seed, uint64_t stream, uint64_t index) {
  if (rate <= 0) return 1;
  if (rate >= 1) return 0;
  const uint32_t word = philox4x32(seed, stream, index / 4)[index % 4];
  return static_cast<double>(word) < rate * 4294967296.0 ? 0 : 1 / (1 - rate);
}

// One row (b, h, i): which keys take part, their scores, their weights.
template <class T>
struct AttentionRowState {
  int64_t b, h, g, i;
  KeyRange visible;
  bool zero;      // nothing kept, and `zero` rules
  bool use_bias;  // false also when the bias removes every key
  // Keys of visible that a mask rule hides: 1. nullptr: none of them. Behind it there is room for four rows that lack
  // these keys, because they do not exist for the probability.
  const T* hidden;
  int64_t count;  // of keys that exist
  ProbabilityRow<T> row;
};

// Scaled and capped score of a query and a key.
template <class T>
T score(const AttentionArgs<T>& a, int64_t b, int64_t h, int64_t i, int64_t j, bool capped = true) {
  const T *q = a.q.at(b, h, i), *k = a.k.at(b, h / (a.heads / a.kv_heads), j);
  T dot = 0;
  for (int64_t d = 0; d < a.head_dim; ++d) dot += q[d] * k[d];
  dot *= a.scale;
  return capped && a.softcap != 0 ? a.softcap * std::tanh(dot / a.softcap) : dot;
}

// Where the program of a call computes the score of a query and a key.
template <class T>
program::Point point(const AttentionArgs<T>& a, int64_t b, int64_t h, int64_t i, int64_t j) {
  return {b, a.first_head + h, position(a, b, i), j};
}

// The score that the probability gets, but for the bias.
template <class T>
T final_score(const AttentionArgs<T>& a, int64_t b, int64_t h, int64_t i, int64_t j) {
  const T s = score(a, b, h, i, j);
  if (!has_score_program(a)) return s;
  program::Slot<T> slots[program::kMostDerived];
  const program::Steps& steps = a.program->program->score;
  program::compute(steps, *a.program, point(a, b, h, i, j), s, slots);
  return slots[steps.outputs[0]].f;
}

// Elements of x that a mask rule does not hide, one after another in `to`; x itself where it hides none.
template <class T>
const T* without_hidden(const AttentionRowState<T>& s, const T* x, T* to) {
  if (s.hidden == nullptr) return x + s.visible.begin;
  T* next = to;
  for (int64_t j = s.visible.begin; j < s.visible.end; ++j)
    if (s.hidden[j] == 0) *next++ = x[j];
  return to;
}
template <class T>
void with_hidden(const AttentionRowState<T>& s, const T* from, T* x) {
  if (from == x + s.visible.begin) return;
  for (int64_t j = s.visible.begin; j < s.visible.end; ++j)
    x[j] = s.hidden[j] == 0 ? *from++ : T(0);
}

// Fills hidden; returns how many keys it leaves.
template <class T>
int64_t find_hidden(const AttentionArgs<T>& a, const AttentionRowState<T>& s, T* hidden) {
  int64_t count = 0;
  for (int64_t j = s.visible.begin; j < s.visible.end; ++j) {
    const bool sees = program::sees<T>(*a.program, point(a, s.b, s.h, s.i, j));
    hidden[j] = sees ? T(0) : T(1);
    count += sees;
  }
  return count;
}

// Fills z with the scores of [visible.begin, visible.end), -infinity where masked, and w with the weights before
// dropout. rest: five rows of scratch, see AttentionRowState.
template <class T>
AttentionRowState<T> attention_row(const AttentionArgs<T>& a, int64_t b, int64_t h, int64_t i, T* z,
                                   T* w, T* rest) {
  constexpr T kNever = -std::numeric_limits<T>::infinity();
  AttentionRowState<T> s{};
  s.b = b, s.h = h, s.i = i, s.g = h / (a.heads / a.kv_heads);
  s.visible = visible_keys(a, b, h, i);
  const int64_t begin = s.visible.begin, end = s.visible.end;
  s.count = end - begin;
  if (has_rule(a)) {
    s.count = find_hidden(a, s, rest);
    s.hidden = rest;
  }
  const auto kept = [&](int64_t j) {
    if (s.hidden != nullptr && s.hidden[j] != 0) return false;
    if (a.lengths != nullptr && j >= a.lengths[b]) return false;
    return a.mask.data == nullptr || a.mask.at(b, h, i)[j * a.mask.k] != 0;
  };
  bool any = false;
  for (int64_t j = begin; j < end; ++j) any = any || kept(j);
  s.zero = s.count == 0 || (!any && a.fully_masked != FullyMaskedRows::unmask);
  if (s.zero) return s;
  for (int64_t j = begin; j < end; ++j) {
    const bool removed = any ? !kept(j) : s.hidden != nullptr && s.hidden[j] != 0;
    z[j] = removed ? kNever : T(0);
  }
  if (a.bias.data != nullptr) {
    for (int64_t j = begin; j < end; ++j) {
      if (z[j] == 0 && !(a.bias.at(b, h, i)[j * a.bias.k] == kNever)) s.use_bias = true;
    }
    s.zero = !s.use_bias && a.fully_masked == FullyMaskedRows::zero_by_bias;
    if (s.zero) return s;
  }
  for (int64_t j = begin; j < end; ++j) {
    if (z[j] == kNever) continue;
    const T bias = s.use_bias ? a.bias.at(b, h, i)[j * a.bias.k] : T(0);
    z[j] = bias == kNever ? kNever : final_score(a, b, h, i, j);
    if (!s.use_bias || bias == kNever) continue;
    if (has_score_program(a)) {
      z[j] += bias;
      continue;
    }
    const T floor = std::min(bias, std::numeric_limits<T>::lowest());
    z[j] += bias;
    if (z[j] < floor) z[j] = floor;
  }
  if (may_empty_rows(a)) s.zero = std::all_of(z + begin, z + end, [](T x) { return x == kNever; });
  if (s.zero) return s;
  T* const own = s.hidden == nullptr ? w + begin : rest + 2 * a.keys;
  s.row = probability(a.probability, s.count, without_hidden(s, z, rest + a.keys), own,
                      a.sinks == nullptr ? kNever : a.sinks[h]);
  with_hidden(s, own, w);
  return s;
}

template <class T>
uint64_t weight_index(const AttentionArgs<T>& a, int64_t b, int64_t h, int64_t i, int64_t j) {
  return dropout_index(a, b, h, i) + static_cast<uint64_t>(j);
}

// Maximum and sum of one row, of a part or of all its keys.
template <class T>
T* saved_row(const AttentionArgs<T>& a, int64_t b, int64_t h, int64_t i) {
  return a.saved + ((b * a.heads + h) * a.queries + i) * saved_per_row(Probability::softmax);
}

// Of a part: weights in the place of those that attention_row() normalised over the part alone. Returns the mean of
// the gradients of all weights of the row.
template <class T>
T whole_row_weights(const AttentionArgs<T>& a, const AttentionGrads<T>& grads,
                    const AttentionRowState<T>& s, const T* z, T* w) {
  const T* saved = saved_row(a, s.b, s.h, s.i);
  for (int64_t j = s.visible.begin; j < s.visible.end; ++j)
    w[j] = std::exp(z[j] - saved[0]) / saved[1];
  T mean = 0;
  for (int64_t d = 0; grads.dout.data != nullptr && d < a.value_dim; ++d)
    mean += grads.dout.at(s.b, s.h, s.i)[d] * a.o.at(s.b, s.h, s.i)[d];
  return mean;
}

// The map of a stage before weights, of one row: z as attention_row() left it.
template <class T>
void map_scores(const AttentionArgs<T>& a, const AttentionRowState<T>& s, const T* z) {
  constexpr T kNever = -std::numeric_limits<T>::infinity();
  T* map = a.map.at(s.b, s.h, s.i);
  for (int64_t j = 0; j < a.keys; ++j) {
    const bool kept = !s.zero && j >= s.visible.begin && j < s.visible.end;
    map[j] = a.map_stage != MapStage::biased
                 ? score(a, s.b, s.h, s.i, j, a.map_stage == MapStage::capped)
             : kept ? z[j]
                    : kNever;
  }
}

// Rows [begin, end) of the B * H * Q rows.
template <class T>
void attention_rows(const AttentionArgs<T>& a, int64_t begin, int64_t end, T* scratch) {
  T* z = scratch;
  T* w = scratch + a.keys;
  for (int64_t r = begin; r < end; ++r) {
    const int64_t i = r % a.queries, h = r / a.queries % a.heads, b = r / a.queries / a.heads;
    const auto s = attention_row(a, b, h, i, z, w, scratch + 6 * a.keys);
    T* o = a.o.at(b, h, i);
    for (int64_t d = 0; d < a.value_dim; ++d) o[d] = 0;
    const bool map = a.map.data != nullptr && a.map_stage == MapStage::weights;
    if (map) std::fill_n(a.map.at(b, h, i), a.keys, T(0));
    if (a.map.data != nullptr && !map) map_scores(a, s, z);
    if (a.lse.data != nullptr)
      *a.lse.at(b, h, i) =
          s.zero ? -std::numeric_limits<T>::infinity() : s.row.max + std::log(s.row.sum);
    if (a.shard) {
      T* saved = saved_row(a, b, h, i);
      saved[0] = s.zero ? T(0) : s.row.max;
      saved[1] = s.zero ? T(0) : s.row.sum;
    }
    if (s.zero) continue;
    for (int64_t j = s.visible.begin; j < s.visible.end; ++j) {
      const T x = w[j] * static_cast<T>(dropout_factor(a.dropout, a.seed, a.stream,
                                                       weight_index(a, b, h, i, j)));
      if (map) a.map.at(b, h, i)[j] = x;
      if (x == 0) continue;
      for (int64_t d = 0; d < a.value_dim; ++d) o[d] += x * a.v.at(b, s.g, j)[d];
    }
  }
}

// Through the program, of one score: adds to the gradients of tables and returns what dz is multiplied with.
template <class T>
T program_backward(const AttentionArgs<T>& a, const AttentionGrads<T>& grads, int64_t b, int64_t h,
                   int64_t i, int64_t j, T dz) {
  const program::Program& p = *a.program->program;
  program::Slot<T> slots[program::kMostDerived];
  program::compute(p.back, *a.program, point(a, b, h, i, j), score(a, b, h, i, j), slots);
  const auto output = [&](int32_t n) { return slots[p.back.outputs[static_cast<size_t>(n)]]; };
  for (const program::GradRead& r : p.reads) {
    T* to = grads.dtables[r.table];
    if (to == nullptr) continue;
    const int64_t step = r.way == program::GradRead::ascending    ? j
                         : r.way == program::GradRead::descending ? -j
                                                                  : 0;
    to[output(r.index).i + step] += dz * output(r.factor).f;
  }
  return p.ds >= 0 ? output(p.ds).f : p.score_counts ? T(1) : T(0);
}

// The gradient of every row of key/value head g of example b, in order: dk and dv of that head belong to the caller
// alone, and so do the rows of dq. dbias and dslope are added to where the caller says.
template <class T>
void attention_backward_unit(const AttentionArgs<T>& a, const AttentionGrads<T>& grads, int64_t b,
                             int64_t g, T* scratch) {
  T* z = scratch;
  T* w = scratch + a.keys;
  T* dw = scratch + 2 * a.keys;
  T* dz = scratch + 3 * a.keys;
  const int64_t group = a.heads / a.kv_heads;
  for (int64_t h = g * group; h < (g + 1) * group; ++h) {
    for (int64_t i = 0; i < a.queries; ++i) {
      T* const rest_rows = scratch + 6 * a.keys;
      auto s = attention_row(a, b, h, i, z, w, rest_rows);
      if (s.zero) continue;
      if (grads.dlse.data != nullptr) s.row.dlse = *grads.dlse.at(b, h, i);
      const int64_t begin = s.visible.begin, end = s.visible.end;
      const T mean = a.shard ? whole_row_weights(a, grads, s, z, w) : T(0);
      for (int64_t j = begin; j < end; ++j) {
        const T keep = static_cast<T>(
            dropout_factor(a.dropout, a.seed, a.stream, weight_index(a, b, h, i, j)));
        dw[j] = 0;
        if (z[j] == -std::numeric_limits<T>::infinity()) continue;
        T sum = grads.dmap.data == nullptr ? T(0) : grads.dmap.at(b, h, i)[j * grads.dmap.k];
        if (grads.dout.data != nullptr) {
          const T* dout = grads.dout.at(b, h, i);
          for (int64_t d = 0; d < a.value_dim; ++d) sum += dout[d] * a.v.at(b, g, j)[d];
          if (grads.dv.data != nullptr) {
            for (int64_t d = 0; d < a.value_dim; ++d) {
              grads.dv.at(b, g, j)[d] += keep * w[j] * dout[d];
            }
          }
        }
        dw[j] = keep * sum;
      }
      if (a.shard) {
        const int64_t row = (b * a.heads + h) * a.queries + i;
        const T residue = grads.rest == nullptr ? T(0) : grads.rest[row];
        T rest = 0;
        for (int64_t j = begin; j < end; ++j) {
          dz[j] = w[j] * (dw[j] - mean - residue);
          rest += dz[j];
        }
        if (grads.rest_sum != nullptr) grads.rest_sum[row] += rest;
      } else {
        T* const own = s.hidden == nullptr ? dz + begin : rest_rows + 4 * a.keys;
        const T dslope = probability_backward(
            a.probability, s.row, s.count, without_hidden(s, z, rest_rows + a.keys),
            without_hidden(s, w, rest_rows + 2 * a.keys),
            without_hidden(s, dw, rest_rows + 3 * a.keys), own, scratch + 4 * a.keys);
        with_hidden(s, own, dz);
        if (grads.dslope != nullptr) *grads.dslope += dslope;
      }
      if (grads.dsinks != nullptr && a.sinks != nullptr) {
        // The gradients of all scores, that of the sink included, sum to dlse.
        T rest = s.row.dlse;
        for (int64_t j = begin; j < end; ++j) rest -= dz[j];
        grads.dsinks[h] += rest;
      }
      for (int64_t j = begin; j < end; ++j) {
        if (dz[j] == 0) continue;
        if (grads.dbias.data != nullptr && s.use_bias)
          grads.dbias.at(b, h, i)[j * grads.dbias.k] += dz[j];
        if (has_score_program(a)) {
          const T ds = program_backward(a, grads, b, h, i, j, dz[j]);
          if (ds == 0) continue;
          dz[j] *= ds;
        }
        if (a.softcap != 0) {
          const T t = score(a, b, h, i, j) / a.softcap;
          dz[j] *= (1 - t) * (1 + t);
        }
        for (int64_t d = 0; d < a.head_dim; ++d) {
          if (grads.dq.data != nullptr)
            grads.dq.at(b, h, i)[d] += a.scale * dz[j] * a.k.at(b, g, j)[d];
          if (grads.dk.data != nullptr)
            grads.dk.at(b, g, j)[d] += a.scale * dz[j] * a.q.at(b, h, i)[d];
        }
      }
    }
  }
}

}  // namespace attn::kernels::reference
