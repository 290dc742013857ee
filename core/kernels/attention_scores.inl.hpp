// SPDX-License-Identifier: Apache-2.0
//
// Scores of a group of at most 6 rows, and what the forward and the backward pass do to them alike: soft cap, edges,
// masks, bias, dropout.
#pragma once

#include "core/kernels/attention_tile.hpp"
#include "core/kernels/micro.inl.hpp"
#include "core/kernels/philox.inl.hpp"
#include "core/kernels/program.inl.hpp"

namespace attn::kernels::simd {

inline constexpr float kLog2e = 1.4426950408889634f;
inline constexpr float kLn2 = 0.6931471805599453f;
inline constexpr float kNever = -__builtin_inff();
// The lowest number. No score that counts is below it, so it serves as the maximum of nothing too: differences from it
// are never NaN, and -infinity, of a key that does not count, stays so.
inline constexpr float kLowest = -__FLT_MAX__;
inline constexpr float kNoPower = -127.0f;  // 2 to that or less is 0 in exp2_softmax

// Asks for part `part` of `parts` of what comes next.
ATTN_INLINE void prefetch(const Ahead& ahead, int64_t part, int64_t parts) {
  for (int i = 0; i < ahead.count; ++i) {
    const Ahead::Rows& x = ahead.of[i];
    const int64_t end = x.rows * (part + 1) / parts;
    for (int64_t r = x.rows * part / parts; r < end; ++r)
      for (int64_t d = 0; d < x.size; d += 16) __builtin_prefetch(x.data + r * x.stride + d);
  }
}

// Keys [begin, end) of a group inside a block that starts at `base`, rounded out to whole vectors, relative to base.
struct Span {
  int64_t begin, end;   // exact
  int64_t first, last;  // multiples of the vector
  [[nodiscard]] bool empty() const { return begin >= end; }
};

template <class Arch>
ATTN_INLINE Span group_span(const AttentionRow* row, int64_t rows, int64_t base, int64_t limit) {
  constexpr int64_t W = kWidth<Arch>;
  int64_t begin = limit, end = base;
  for (int64_t r = 0; r < rows; ++r) {
    if (row[r].begin >= row[r].end) continue;
    begin = row[r].begin < begin ? row[r].begin : begin;
    end = row[r].end > end ? row[r].end : end;
  }
  begin = begin < base ? base : begin;
  end = end > limit ? limit : end;
  if (begin >= end) return {0, 0, 0, 0};
  return {begin - base, end - base, (begin - base) / W * W, (end - base + W - 1) / W * W};
}

// s[r * ld + j - shift] = a_row(r) . key(base + j) for j in [span.first, span.last), from panels of transposed keys.
template <class Arch>
ATTN_INLINE void panel_scores(int64_t rows, const float* a, int64_t a_row, int64_t depth,
                              const float* panels, int64_t base, const Span& span, float* s,
                              int64_t ld) {
  constexpr int64_t W = kWidth<Arch>, P = kPanel<Arch>;
  with_rows<Arch>(rows, [&](auto mr) {
    int64_t j = span.first;
    while (j < span.last) {
      const int64_t column = (base + j) % P;
      const float* b = panels + (base + j) / P * P * depth + column;
      const int64_t room = (P - column) / W, want = (span.last - j) / W;
      const int64_t vectors = want < room ? want : room;
      with_vectors<Arch>(vectors, [&](auto nv) {
        Accumulator<Arch, mr.value, nv.value> acc;
        multiply<Arch, mr.value, nv.value>(acc, depth, a, a_row, 1, b, P);
        ATTN_UNROLL
        for (int i = 0; i < mr.value; ++i) {
          ATTN_UNROLL
          for (int v = 0; v < nv.value; ++v) store<Arch>(s + i * ld + j + v * W, acc.c[i][v]);
        }
      });
      j += vectors * W;
    }
  });
}

// Soft cap of the rows of a group.
template <class Arch>
__attribute__((noinline)) void cap_scores(float cap, int64_t rows, const Span& span, float* s,
                                          int64_t ld) {
  const Vec<Arch> c(cap);
  for (int64_t r = 0; r < rows; ++r, s += ld) {
    for (int64_t j = span.first; j < span.last; j += kWidth<Arch>)
      store<Arch>(s + j, c * xsimd::tanh(load<Arch>(s + j) / c));
  }
}

// Of one row, with its derivative.
template <class Arch>
__attribute__((noinline)) void cap_scores_with_slope(float cap, const Span& span, float* s,
                                                     float* slope) {
  const Vec<Arch> c(cap), one(1.0f);
  for (int64_t j = span.first; j < span.last; j += kWidth<Arch>) {
    const Vec<Arch> t = xsimd::tanh(load<Arch>(s + j) / c);
    store<Arch>(s + j, c * t);
    store<Arch>(slope + j, (one - t) * (one + t));
  }
}

// Rows of a group for the program of the call; s: where key `base + span.begin` is.
ATTN_INLINE void program_rows(const AttentionRow* row, int64_t rows, float* s, int64_t ld,
                              ProgramRow* out) {
  for (int64_t r = 0; r < rows; ++r) out[r] = {row[r].b, row[r].h, row[r].p, s + r * ld};
}
template <class Arch>
ATTN_INLINE void score_rows(const AttentionRule& rule, const AttentionRow* row, int64_t rows,
                            int64_t base, const Span& span, float* s, int64_t ld) {
  ProgramRow of[kTileRows];
  program_rows(row, rows, s + span.begin, ld, of);
  program_scores<Arch>(*rule.program, of, rows, base + span.begin, span.end - span.begin);
}
template <class Arch>
ATTN_INLINE void hide_keys(const AttentionRule& rule, const AttentionRow* row, int64_t rows,
                           int64_t base, const Span& span, float* s, int64_t ld) {
  ProgramRow of[kTileRows];
  program_rows(row, rows, s + span.begin, ld, of);
  program_hide<Arch>(*rule.program, of, rows, base + span.begin, span.end - span.begin);
}

// What the rest of a mask rule says of rows and keys [begin, end).
ATTN_INLINE program::Seen rows_see(const AttentionRule& rule, const AttentionRow* row, int64_t rows,
                                   int64_t begin, int64_t end) {
  program::Box box{{row->b, row->b}, {row->h, row->h}, {row->p, row->p}, {begin, end - 1}};
  for (int64_t r = 1; r < rows; ++r) {
    box.h[0] = row[r].h < box.h[0] ? row[r].h : box.h[0];
    box.h[1] = row[r].h > box.h[1] ? row[r].h : box.h[1];
    box.q[0] = row[r].p < box.q[0] ? row[r].p : box.q[0];
    box.q[1] = row[r].p > box.q[1] ? row[r].p : box.q[1];
  }
  return program::seen(*rule.program, box);
}

// What the rule says of 64 keys at a time to the rows of a group: of none, of some, of all. Relative to the base of a
// block, which is a multiple of 64.
struct BoxesSeen {
  program::Seen box[kMostBlock / 64];
  int64_t begin, end;  // keys of the boxes between the first and the last of which some are seen
};

// Cuts from both ends of the span of a group what the rule hides from all of its rows, 64 keys at a time. Returns
// whether the rule has to be asked about single keys of what is left. boxes: nullptr where they are not wanted.
template <class Arch>
ATTN_INLINE bool narrow_span(const AttentionRule& rule, const AttentionRow* row, int64_t rows,
                             int64_t base, Span& span, BoxesSeen* boxes = nullptr) {
  constexpr int64_t kBox = 64, W = kWidth<Arch>;
  bool some = false, hole = false;
  int64_t begin = span.end, end = span.begin;
  if (boxes != nullptr) boxes->begin = span.end, boxes->end = span.begin;
  for (int64_t j = span.begin; j < span.end;) {
    int64_t next = (base + j) / kBox * kBox + kBox - base;
    next = next > span.end ? span.end : next;
    const program::Seen seen = rows_see(rule, row, rows, base + j, base + next);
    if (boxes != nullptr) {
      boxes->box[j / kBox] = seen;
      if (seen == program::Seen::some) {
        boxes->begin = j < boxes->begin ? j : boxes->begin;
        boxes->end = next;
      }
    }
    if (seen == program::Seen::none) {
      hole = end > begin;
    } else {
      begin = j < begin ? j : begin;
      end = next;
      some = some || hole || seen == program::Seen::some;
    }
    j = next;
  }
  if (begin >= end) {
    span = {0, 0, 0, 0};
    return false;
  }
  span = {begin, end, begin / W * W, (end + W - 1) / W * W};
  return some;
}

// Part of a row's keys inside a block, relative to base, clipped to the span of its group.
struct Piece {
  int64_t begin, end;
};
ATTN_INLINE Piece row_piece(const AttentionRow& row, int64_t base, const Span& span) {
  int64_t b = row.begin - base < span.begin ? span.begin : row.begin - base;
  b = b > span.end ? span.end : b;
  const int64_t e = row.end - base > span.end ? span.end : row.end - base;
  return {b, e < b ? b : e};
}

ATTN_INLINE void fill(float* s, int64_t begin, int64_t end, float value) {
  for (int64_t j = begin; j < end; ++j) s[j] = value;
}

// Adds the bias, removes masked keys and everything outside the row's own keys (value -infinity), all in place.
template <class Arch>
ATTN_INLINE void apply_masks(const AttentionRule& rule, const AttentionRow& row, int64_t base,
                             const Span& span, float* s) {
  using V = Vec<Arch>;
  constexpr int64_t W = kWidth<Arch>;
  const Piece piece = row_piece(row, base, span);
  fill(s, span.first, piece.begin, kNever);
  fill(s, piece.end, span.last, kNever);
  const bool biased = rule.has_bias && row.bias != nullptr;
  if (!biased && row.mask == nullptr) return;
  const V never(kNever), bias_scale(rule.bias_scale);
  int64_t j = piece.begin;
  for (; j + W <= piece.end; j += W) {
    V x = load<Arch>(s + j);
    if (biased) {
      const V bias = load<Arch>(row.bias + base + j);
      x = xsimd::select(bias == never, never, fma<Arch>(bias, bias_scale, x));
    }
    if (row.mask != nullptr) x = select_bytes<Arch>(row.mask + base + j, x, never);
    store<Arch>(s + j, x);
  }
  for (; j < piece.end; ++j) {
    if (biased) s[j] += row.bias[base + j] * rule.bias_scale;
    const bool removed = (row.mask != nullptr && row.mask[base + j] == 0) ||
                         (biased && row.bias[base + j] == kNever);
    if (removed) s[j] = kNever;
  }
}

// A score that its bias takes below the lowest number is the lowest number: only a bias of -infinity removes a key. It
// has no weight beside a greater one, so this matters where `max`, that of the row so far, is not above. Returns max.
// What a mask rule hides stays hidden.
template <class Arch>
ATTN_INLINE float raise_to_lowest(const AttentionRule& rule, const AttentionRow& row, int64_t base,
                                  const Span& span, float max, float* s) {
  if (max > kLowest || !rule.has_bias || row.bias == nullptr || rule.has_score) return max;
  const Piece piece = row_piece(row, base, span);
  for (int64_t j = piece.begin; j < piece.end; ++j) {
    const bool kept = row.mask == nullptr || row.mask[base + j] != 0;
    if (kept && row.bias[base + j] >= kLowest && s[j] < kLowest) max = s[j] = kLowest;
  }
  if (rule.has_rest) hide_keys<Arch>(rule, &row, 1, base, span, s, 0);
  return max;
}

// Maximum over the span, at least `max`.
template <class Arch>
ATTN_INLINE float span_max(const Span& span, const float* s, float max) {
  using V = Vec<Arch>;
  constexpr int64_t W = kWidth<Arch>;
  // max_of() gives its second operand when one is NaN: a NaN score does not become the maximum, but its exponential
  // reaches the sum.
  V m0(max), m1(max);
  int64_t j = span.first;
  for (; j + 2 * W <= span.last; j += 2 * W) {
    m0 = max_of<Arch>(load<Arch>(s + j), m0);
    m1 = max_of<Arch>(load<Arch>(s + j + W), m1);
  }
  if (j < span.last) m0 = max_of<Arch>(load<Arch>(s + j), m0);
  return max_lanes<Arch>(max_of<Arch>(m0, m1));
}

// Whether all scores of the span are -infinity; NaN counts.
template <class Arch>
ATTN_INLINE bool nothing_counts(const Span& span, const float* s) {
  int32_t others = 0;
  for (int64_t j = span.first; j < span.last; ++j) others |= s[j] == kNever ? 0 : 1;
  return others == 0;
}

// 2^((s - max) * unit), the difference first: max * unit is rounded, and may lie beyond all numbers.
template <class Arch>
ATTN_INLINE Vec<Arch> exp_of_score(const float* s, Vec<Arch> max, Vec<Arch> unit) {
  return exp2_softmax<Arch>((load<Arch>(s) - max) * unit);
}

// s = 2^exponent(s) over the span; returns the sum. also: told each power, its exponent and which of two sums it is in.
template <class Arch, class F, class G>
ATTN_INLINE float exp2_and_sum(const Span& span, float* s, F&& exponent, G&& also) {
  using V = Vec<Arch>;
  constexpr int64_t W = kWidth<Arch>;
  V s0(0.0f), s1(0.0f);
  int64_t j = span.first;
  for (; j + 2 * W <= span.last; j += 2 * W) {
    const V x = exponent(load<Arch>(s + j)), y = exponent(load<Arch>(s + j + W));
    const V a = exp2_softmax<Arch>(x), b = exp2_softmax<Arch>(y);
    store<Arch>(s + j, a);
    store<Arch>(s + j + W, b);
    s0 += a;
    s1 += b;
    also(a, x, 0);
    also(b, y, 1);
  }
  if (j < span.last) {
    const V x = exponent(load<Arch>(s + j));
    const V a = exp2_softmax<Arch>(x);
    store<Arch>(s + j, a);
    s0 += a;
    also(a, x, 0);
  }
  return sum_lanes<Arch>(s0 + s1);
}

// The same of (s - max) * unit, changed by `least`. By a power of two the product is exact, and while it is a number one
// operation does for two: a hundredth of the time of a layer.
template <class Arch, class S, class F, class G>
ATTN_INLINE float exp2_of_scores(const S& span, float* s, float max, float unit, F&& least,
                                 G&& also) {
  using V = Vec<Arch>;
  const V m(max), u(unit), shift(-max * unit);
  if (unit == kSoftmaxUnit && -max * unit <= __FLT_MAX__) {
    return exp2_and_sum<Arch>(
        span, s, [&](V x) { return least(fma<Arch>(x, u, shift)); }, also);
  }
  return exp2_and_sum<Arch>(
      span, s, [&](V x) { return least((x - m) * u); }, also);
}

// s = 2^((s - max) * unit) over the span; returns the sum.
template <class Arch, class S>
ATTN_INLINE float exp_and_sum(const S& span, float* s, float max, float unit) {
  using V = Vec<Arch>;
  return exp2_of_scores<Arch>(
      span, s, max, unit, [](V t) { return t; }, [](V, V, int) {});
}

// The same, and in spread the sum of 2^t t, t = (s - max) * unit. The sum has the same bits.
template <class Arch, class S>
__attribute__((noinline)) float exp_and_sums(const S& span, float* s, float max, float unit,
                                             float& spread) {
  using V = Vec<Arch>;
  const V low(kNoPower);
  V total[2] = {V(0.0f), V(0.0f)};
  // What exp2_and_sum() stores comes from the exponent that it is given.
  const float sum = exp2_of_scores<Arch>(
      span, s, max, unit, [&](V t) { return max_of<Arch>(low, t); },
      [&](V e, V t, int i) { total[i] = fma<Arch>(e, t, total[i]); });
  spread = sum_lanes<Arch>(total[0] + total[1]);
  return sum;
}

// s[j] is multiplied by 0 or drop_scale for j in [begin, end); index: of s[0].
template <class Arch>
__attribute__((noinline)) void drop(const AttentionRule& rule, uint64_t index, int64_t begin,
                                    int64_t end, float* s) {
  constexpr int64_t kWords = 256;
  uint32_t word[kWords];
  int64_t j = begin;
  while (j < end) {
    const uint64_t at = index + static_cast<uint64_t>(j);
    const auto skip = static_cast<int64_t>(at % 4);
    const int64_t count = end - j < kWords - skip ? end - j : kWords - skip;
    philox_words<Arch>(rule.seed, rule.stream, at / 4, (skip + count + 3) / 4, word);
    const uint32_t threshold = rule.drop_threshold;
    const float scale = rule.drop_scale;
    for (int64_t i = 0; i < count; ++i) s[j + i] *= word[i + skip] < threshold ? 0.0f : scale;
    j += count;
  }
}

// q rows times `scale`, padded with zeros to `padded` floats.
template <class Arch>
ATTN_INLINE void copy_scaled(const float* src, int64_t n, int64_t padded, float scale, float* dst) {
  constexpr int64_t W = kWidth<Arch>;
  const Vec<Arch> x(scale);
  int64_t d = 0;
  for (; d + W <= n; d += W) store<Arch>(dst + d, load<Arch>(src + d) * x);
  for (; d < padded; d += W) {
    store<Arch>(dst + d, d < n ? load_first<Arch>(src + d, n - d) * x : Vec<Arch>(0.0f));
  }
}

}  // namespace attn::kernels::simd
