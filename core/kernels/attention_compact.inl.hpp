// SPDX-License-Identifier: Apache-2.0
//
// Scores and values of few rows from keys and values in fewer bits: each is widened in registers once for up to four
// rows. The scale of an int8 key multiplies its score, that of a value the weight that it meets.
#pragma once

#include "core/kernels/attention_scores.inl.hpp"
#include "core/kernels/attention_tile.hpp"
#include "core/kernels/compact.inl.hpp"

namespace attn::kernels::simd {

// The first n of W numbers, zeros after them. Touches no other memory.
template <class Arch, StorageKind K>
ATTN_INLINE Vec<Arch> widened_first(const char* p, int64_t n) {
  constexpr int64_t E = K == StorageKind::int8 ? 1 : 2;
  alignas(64) char bytes[kWidth<Arch> * E] = {};
  for (int64_t i = 0; i < n * E; ++i) bytes[i] = p[i];
  return widened<Arch, K>(bytes);
}

// As dot_scores_rows.
template <class Arch, StorageKind K, int RB>
ATTN_INLINE void compact_dots(const float* q, int64_t q_row, int64_t depth, const char* k,
                              int64_t k_row, const Span& span, float* s, int64_t ld) {
  using V = Vec<Arch>;
  constexpr int64_t W = kWidth<Arch>, E = K == StorageKind::int8 ? 1 : 2;
  constexpr int KB = static_cast<int>(W) / RB;
  constexpr int64_t kNext = 2048;  // bytes
  for (int64_t j = span.begin; j < span.end; j += KB) {
    const char* key[KB];
    for (int i = 0; i < KB; ++i) key[i] = k + (j + i < span.end ? j + i : span.end - 1) * k_row * E;
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
    for (int64_t b = 0; b < KB * k_row * E; b += 64) __builtin_prefetch(key[0] + kNext + b);
    int64_t d = 0;
    for (; d + W <= depth; d += W) add(d, [](const char* p) { return widened<Arch, K>(p); });
    if (d < depth) add(d, [&](const char* p) { return widened_first<Arch, K>(p, depth - d); });
    alignas(64) float out[kWidth<Arch>];
    store<Arch>(out, sums_of<Arch>(acc));
    const int64_t count = span.end - j < KB ? span.end - j : KB;
    for (int r = 0; r < RB; ++r) {
      for (int64_t i = 0; i < count; ++i) s[r * ld + j + i] = out[r * KB + i];
    }
  }
}

// Scores of keys [base + span.begin, base + span.end).
template <class Arch>
__attribute__((noinline)) void compact_scores(const AttentionTile& t, int64_t rows, const float* q,
                                              int64_t q_row, int64_t base, const Span& span,
                                              float* s, int64_t ld) {
  with_kind(t.k_rows.kind, [&](auto kind) {
    constexpr StorageKind K = kind.value;
    const char* k = t.k_rows.data + base * t.k_row * (K == StorageKind::int8 ? 1 : 2);
    const auto dots = [&](auto count, int64_t r) {
      compact_dots<Arch, K, count.value>(q + r * q_row, q_row, t.head_dim, k, t.k_row, span,
                                         s + r * ld, ld);
    };
    int64_t r = 0;
    for (; r + 4 <= rows; r += 4) dots(Int<4>{}, r);
    for (; r + 2 <= rows; r += 2) dots(Int<2>{}, r);
    if (r < rows) dots(Int<1>{}, r);
  });
  if (t.k_rows.scales == nullptr) return;
  const float* scale = t.k_rows.scales + base * t.k_rows.step;
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t j = span.begin; j < span.end; ++j) s[r * ld + j] *= scale[j * t.k_rows.step];
}

// out = (before ? acc * alpha : 0) + p v, times finish, for MR rows and NV vectors of columns from `column` on; the last
// of them has `last` columns.
template <class Arch, StorageKind K, int MR, int NV>
ATTN_INLINE void compact_values_tile(int64_t keys, const float* p, int64_t ld, const char* v,
                                     int64_t v_row, int64_t last, const ValueSink& sink, int64_t r0,
                                     int64_t column) {
  using V = Vec<Arch>;
  constexpr int64_t W = kWidth<Arch>, E = K == StorageKind::int8 ? 1 : 2;
  constexpr int64_t kNext = 1024;  // bytes
  V acc[MR][NV];
  ATTN_UNROLL
  for (int i = 0; i < MR; ++i) {
    ATTN_UNROLL
    for (int j = 0; j < NV; ++j) acc[i][j] = V(0.0f);
  }
  const char* row = v + column * E;
  for (int64_t key = 0; key < keys; ++key, row += v_row * E) {
    __builtin_prefetch(row + kNext);
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
    const V finish(sink.finish[r0 + i]);
    float* out = sink.out[r0 + i] + column;
    ATTN_UNROLL
    for (int j = 0; j < NV; ++j) {
      V x = acc[i][j];
      if (sink.before != nullptr)
        x = fma<Arch>(load<Arch>(sink.before[r0 + i] + column + j * W), V(sink.alpha[r0 + i]), x);
      if (NV == 1 && last < W)
        store_first<Arch>(out, x * finish, last);
      else
        store<Arch>(out + j * W, x * finish);
    }
  }
}

template <class Arch, StorageKind K, int MR>
ATTN_INLINE void compact_values_rows(const AttentionTile& t, int64_t keys, const float* p,
                                     int64_t ld, const char* v, const ValueSink& sink, int64_t r0) {
  constexpr int64_t W = kWidth<Arch>;
  constexpr int NV = Isa<Arch>::kRegisters == 32 || MR == 2 ? 4 : MR == 1 ? 8 : 2;
  int64_t column = 0;
  for (; column + NV * W <= t.value_dim; column += NV * W)
    compact_values_tile<Arch, K, MR, NV>(keys, p, ld, v, t.v_row, W, sink, r0, column);
  for (; column < t.value_dim; column += W) {
    const int64_t last = t.value_dim - column < W ? t.value_dim - column : W;
    compact_values_tile<Arch, K, MR, 1>(keys, p, ld, v, t.v_row, last, sink, r0, column);
  }
}

// sum over keys [base + span.begin, base + span.end) of their weights, which become those times the scales, and values.
template <class Arch>
__attribute__((noinline)) void compact_values(const AttentionTile& t, int64_t rows, int64_t base,
                                              const Span& span, float* s, int64_t ld,
                                              const ValueSink& sink) {
  if (t.v_rows.scales != nullptr) {
    const float* scale = t.v_rows.scales + base * t.v_rows.step;
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t j = span.begin; j < span.end; ++j) s[r * ld + j] *= scale[j * t.v_rows.step];
  }
  with_kind(t.v_rows.kind, [&](auto kind) {
    constexpr StorageKind K = kind.value;
    const char* v =
        t.v_rows.data + (base + span.begin) * t.v_row * (K == StorageKind::int8 ? 1 : 2);
    const auto some = [&](auto count, int64_t r) {
      compact_values_rows<Arch, K, count.value>(t, span.end - span.begin, s + r * ld + span.begin,
                                                ld, v, sink, r);
    };
    int64_t r = 0;
    for (; r + 4 <= rows; r += 4) some(Int<4>{}, r);
    if (rows - r == 3) some(Int<3>{}, r);
    if (rows - r == 2) some(Int<2>{}, r);
    if (rows - r == 1) some(Int<1>{}, r);
  });
}

}  // namespace attn::kernels::simd
