// SPDX-License-Identifier: Apache-2.0
//
// Scores and values of few rows from keys and values as they are kept: nothing is packed, because every number is used
// so rarely that it is memory that takes the time. Each is read once, in order, for all rows of a group, and is on its
// way long before: keys 32 ahead, values a piece ahead. All rows, four at a time, pass over a piece while it is in the
// first-level cache: 16 rows of a latent history of 576 numbers took 1.4 times as long without. In fewer bits they are
// widened in registers; the scale of an int8 key multiplies its score, that of a value the weight that it meets.
#pragma once

#include "core/kernels/attention_scores.inl.hpp"
#include "core/kernels/attention_tile.hpp"
#include "core/kernels/compact.inl.hpp"

namespace attn::kernels::simd {

// Bytes of keys or values that stay in the first-level cache.
inline constexpr int64_t kFewPiece = 16384;

template <StorageKind K>
inline constexpr int64_t kBytesOf = K == StorageKind::float32 ? 4
                                    : K == StorageKind::int8  ? 1
                                                              : 2;

// f(Kind<kind>{}) of any kind.
template <class F>
ATTN_INLINE void with_any_kind(StorageKind kind, F&& f) {
  if (kind == StorageKind::float32)
    f(Kind<StorageKind::float32>{});
  else
    with_kind(kind, f);
}

// f(Int<count>{}, first) for groups of kFewTogether, 2 and 1 of the rows.
inline constexpr int kFewTogether = 4;
template <class F>
ATTN_INLINE void with_few(int64_t rows, F&& f) {
  int64_t r = 0;
  for (; r + kFewTogether <= rows; r += kFewTogether) f(Int<kFewTogether>{}, r);
  for (; r + 2 <= rows; r += 2) f(Int<2>{}, r);
  if (r < rows) f(Int<1>{}, r);
}

// The first n of W numbers, zeros after them. Touches no other memory.
template <class Arch, StorageKind K>
ATTN_INLINE Vec<Arch> widened_first(const char* p, int64_t n) {
  constexpr int64_t E = kBytesOf<K>;
  alignas(64) char bytes[kWidth<Arch> * E] = {};
  for (int64_t i = 0; i < n * E; ++i) bytes[i] = p[i];
  return widened<Arch, K>(bytes);
}

// RB rows times W / RB keys at a time: all lanes of the sums end up in one vector. q is padded with zeros to whole
// vectors.
template <class Arch, StorageKind K, int RB>
ATTN_INLINE Vec<Arch> few_dots(const float* q, int64_t q_row, int64_t depth,
                               const char* const* key) {
  using V = Vec<Arch>;
  constexpr int64_t W = kWidth<Arch>, E = kBytesOf<K>;
  constexpr int KB = static_cast<int>(W) / RB;
  V acc[W];
  ATTN_UNROLL
  for (int i = 0; i < W; ++i) acc[i] = V(0.0f);
  const auto add = [&](int64_t d, auto&& part) {
    V x[RB];
    ATTN_UNROLL
    for (int r = 0; r < RB; ++r) x[r] = load<Arch>(q + r * q_row + d);
    ATTN_UNROLL
    for (int i = 0; i < KB; ++i) {
      const V y = part(key[i] + d * E);
      ATTN_UNROLL
      for (int r = 0; r < RB; ++r) acc[r * KB + i] = fma<Arch>(x[r], y, acc[r * KB + i]);
    }
  };
  int64_t d = 0;
  for (; d + W <= depth; d += W) add(d, [](const char* p) { return widened<Arch, K>(p); });
  if (d < depth) add(d, [&](const char* p) { return widened_first<Arch, K>(p, depth - d); });
  return sums_of<Arch>(acc);
}

// s[r * ld + j] = row r of q . key j, for j in [begin, end). scales: of keys, `step` from one to the next; nullptr: none.
// asks: for keys later on.
template <class Arch, StorageKind K, int RB>
__attribute__((noinline)) void few_scores_rows(const float* q, int64_t q_row, int64_t depth,
                                               const char* k, int64_t k_row, const float* scales,
                                               int64_t step, int64_t begin, int64_t end, bool asks,
                                               float* s, int64_t ld) {
  constexpr int64_t W = kWidth<Arch>, E = kBytesOf<K>;
  constexpr int KB = static_cast<int>(W) / RB;
  constexpr int64_t kNext = 32;  // keys, to the second-level cache
  const int64_t row = k_row * E;
  alignas(64) float out[W];
  for (int64_t j = begin; j < end; j += KB) {
    const int64_t count = end - j < KB ? end - j : KB;
    const char* key[KB];
    for (int i = 0; i < KB; ++i) key[i] = k + (j + (i < count ? i : count - 1)) * row;
    for (int i = 0; asks && i < KB; ++i)
      for (int64_t b = 0; b < depth * E; b += 64)
        __builtin_prefetch(key[0] + (kNext + i) * row + b, 0, 1);
    store<Arch>(out, few_dots<Arch, K, RB>(q, q_row, depth, key));
    if constexpr (K == StorageKind::int8) {
      for (int i = 0; i < KB; ++i) {
        const float scale = scales[(j + (i < count ? i : count - 1)) * step];
        for (int r = 0; r < RB; ++r) out[r * KB + i] *= scale;
      }
    }
    if (count == KB) {  // a copy of known size
      ATTN_UNROLL
      for (int r = 0; r < RB; ++r) __builtin_memcpy(s + r * ld + j, out + r * KB, KB * 4);
    } else {
      for (int r = 0; r < RB; ++r)
        for (int64_t i = 0; i < count; ++i) s[r * ld + j + i] = out[r * KB + i];
    }
  }
}

// The same as panel_scores for keys [base + span.begin, base + span.end).
template <class Arch>
ATTN_INLINE void few_scores(const AttentionTile& t, int64_t rows, const float* q, int64_t q_row,
                            int64_t base, const Span& span, float* s, int64_t ld) {
  with_any_kind(t.k_rows.kind, [&](auto kind) {
    constexpr StorageKind K = kind.value;
    const char* k = K == StorageKind::float32 ? reinterpret_cast<const char*>(t.k) : t.k_rows.data;
    k += base * t.k_row * kBytesOf<K>;
    const float* scales = K == StorageKind::int8 ? t.k_rows.scales + base * t.k_rows.step : nullptr;
    // All rows meet a piece of the keys while it is in the first-level cache.
    const int64_t fit = kFewPiece / (t.head_dim * kBytesOf<K>) / 16 * 16;
    const int64_t piece = rows <= kFewTogether ? span.end - span.begin : fit < 16 ? 16 : fit;
    for (int64_t j = span.begin; j < span.end; j += piece) {
      const int64_t end = span.end - j < piece ? span.end : j + piece;
      with_few(rows, [&](auto count, int64_t r) {
        few_scores_rows<Arch, K, count.value>(q + r * q_row, q_row, t.head_dim, k, t.k_row, scales,
                                              t.k_rows.step, j, end, r == 0, s + r * ld, ld);
      });
    }
  });
}

// out = (before ? before * alpha : 0) + p v, times finish, for MR rows and NV vectors of columns from `column` on; the
// last of them has `last` columns. Asks for the same columns of the values `next` rows later.
template <class Arch, StorageKind K, int MR, int NV>
ATTN_INLINE void few_values_tile(int64_t keys, const float* p, int64_t ld, const char* v,
                                 int64_t v_row, int64_t next, int64_t last, const ValueSink& sink,
                                 int64_t column) {
  using V = Vec<Arch>;
  constexpr int64_t W = kWidth<Arch>, E = kBytesOf<K>;
  V acc[MR][NV];
  ATTN_UNROLL
  for (int i = 0; i < MR; ++i) {
    ATTN_UNROLL
    for (int j = 0; j < NV; ++j) acc[i][j] = V(0.0f);
  }
  const char* row = v + column * E;
  const int64_t stride = v_row * E, ahead = next * stride;
  for (int64_t key = 0; key < keys; ++key, row += stride) {
    ATTN_UNROLL
    for (int64_t b = 0; b < NV * W * E; b += 64) __builtin_prefetch(row + ahead + b);
    V x[MR];
    ATTN_UNROLL
    for (int i = 0; i < MR; ++i) x[i] = V(p[i * ld + key]);
    ATTN_UNROLL
    for (int j = 0; j < NV; ++j) {
      const V y = NV == 1 && last < W ? widened_first<Arch, K>(row, last)
                                      : widened<Arch, K>(row + j * W * E);
      ATTN_UNROLL
      for (int i = 0; i < MR; ++i) acc[i][j] = fma<Arch>(x[i], y, acc[i][j]);
    }
  }
  ATTN_UNROLL
  for (int i = 0; i < MR; ++i) {
    const V finish(sink.finish[i]);
    float* out = sink.out[i] + column;
    ATTN_UNROLL
    for (int j = 0; j < NV; ++j) {
      const bool partial = NV == 1 && last < W;
      V x = acc[i][j];
      if (sink.before != nullptr) {
        const float* before = sink.before[i] + column + j * W;
        x = fma<Arch>(partial ? load_first<Arch>(before, last) : load<Arch>(before),
                      V(sink.alpha[i]), x);
      }
      if (partial)
        store_first<Arch>(out, x * finish, last);
      else
        store<Arch>(out + j * W, x * finish);
    }
  }
}

// Columns [column, end) of a piece of the keys.
template <class Arch, StorageKind K, int MR>
__attribute__((noinline)) void few_values_rows(int64_t keys, const float* p, int64_t ld,
                                               const char* v, int64_t v_row, int64_t next,
                                               int64_t column, int64_t end, const ValueSink& sink) {
  constexpr int64_t W = kWidth<Arch>;
  constexpr int NV = Isa<Arch>::kRegisters == 32 || MR == 2 ? 4 : MR == 1 ? 8 : 2;
  for (; column + NV * W <= end; column += NV * W)
    few_values_tile<Arch, K, MR, NV>(keys, p, ld, v, v_row, next, W, sink, column);
  for (; column < end; column += W) {
    const int64_t last = end - column < W ? end - column : W;
    few_values_tile<Arch, K, MR, 1>(keys, p, ld, v, v_row, next, last, sink, column);
  }
}

// sum over keys [base + span.begin, base + span.end) of their weights, which become those times the scales, and values.
template <class Arch>
__attribute__((noinline)) void few_values(const AttentionTile& t, int64_t rows, int64_t base,
                                          const Span& span, float* s, int64_t ld,
                                          const ValueSink& sink) {
  constexpr int64_t kColumns = 64;
  constexpr int64_t kPiece = kFewPiece / (4 * kColumns);  // keys
  if (t.v_rows.scales != nullptr) {
    const float* scale = t.v_rows.scales + base * t.v_rows.step;
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t j = span.begin; j < span.end; ++j) s[r * ld + j] *= scale[j * t.v_rows.step];
  }
  float one[kFewRows];
  for (int64_t r = 0; r < rows; ++r) one[r] = 1.0f;
  with_any_kind(t.v_rows.kind, [&](auto kind) {
    constexpr StorageKind K = kind.value;
    const char* v = K == StorageKind::float32 ? reinterpret_cast<const char*>(t.v) : t.v_rows.data;
    for (int64_t j = span.begin; j < span.end; j += kPiece) {
      const int64_t keys = span.end - j < kPiece ? span.end - j : kPiece;
      const bool first = j == span.begin, last = j + kPiece >= span.end;
      const float* const* before = first ? sink.before : const_cast<const float* const*>(sink.out);
      const float* alpha = first ? sink.alpha : one;
      const float* finish = last ? sink.finish : one;
      for (int64_t column = 0; column < t.value_dim; column += kColumns) {
        const int64_t end = column + kColumns < t.value_dim ? column + kColumns : t.value_dim;
        with_few(rows, [&](auto count, int64_t r) {
          const ValueSink own{sink.out + r, before == nullptr ? nullptr : before + r, alpha + r,
                              finish + r};
          few_values_rows<Arch, K, count.value>(keys, s + r * ld + j, ld,
                                                v + (base + j) * t.v_row * kBytesOf<K>, t.v_row,
                                                r == 0 ? kPiece : 0, column, end, own);
        });
      }
    }
  });
}

}  // namespace attn::kernels::simd
