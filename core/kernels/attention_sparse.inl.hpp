// SPDX-License-Identifier: Apache-2.0
//
// Keys that a mask rule leaves to a group of rows, where it is not all of a block: the rule is run before the products,
// and those are of the vectors of keys in which some row has one, side by side in the line of scores. An image
// neighborhood of 7 x 7 on 56 x 56 has 49 of 392 keys between the first and the last; six rows share 83, which lie in
// vectors of 8 with 132. The layer takes 0.55 of the time that it took with products of all 392.
// Bits are those of whole blocks: a vector that is left out has scores of -infinity there, so weights of 0, and the two
// sums of weights take even and odd vectors in both.
#pragma once

#include "core/kernels/attention_scores.inl.hpp"

namespace attn::kernels::simd {

// Relative to the base of a block.
struct SeenKeys {
  int64_t count;  // vectors in which some row has a key
  int64_t end;    // of the keys of the block
  int32_t vector[kMostBlock / 4];
  uint8_t keep[kTileRows][kMostBlock];  // 1: the row has the key
};

// Without asking: the rule is run on all of the span.
ATTN_INLINE void take_all_boxes(const Span& span, BoxesSeen& boxes) {
  for (int64_t i = span.begin / 64; i <= (span.end - 1) / 64; ++i)
    boxes.box[i] = program::Seen::some;
  boxes.begin = span.begin, boxes.end = span.end;
}

// Whether all boxes of a span, four or more, are seen in part: those of the next group are likely the same, and asking
// costs about what the rule itself does: 12 % of the instructions of attention over the neighborhood above.
ATTN_INLINE bool are_all_mixed(const Span& span, const BoxesSeen& boxes) {
  const int64_t first = span.begin / 64, last = (span.end - 1) / 64;
  bool mixed = last - first >= 3;
  for (int64_t i = first; i <= last; ++i) mixed = mixed && boxes.box[i] == program::Seen::some;
  return mixed;
}

// Which keys rows have that masks and the mask rule leave; boxes is what narrow_span() found, or all. Cuts the span to whole
// vectors with keys. False: there are none.
template <class Arch>
__attribute__((noinline)) bool look_at_keys(const AttentionRule& rule, const AttentionRow* row,
                                            int64_t rows, int64_t base, int64_t limit,
                                            const BoxesSeen& boxes, float* s, int64_t ld,
                                            Span& span, SeenKeys& seen) {
  constexpr int64_t W = kWidth<Arch>;
  // Bytes may be anything's, a span's too: loops read its numbers once.
  const int64_t begin = span.begin, end = span.end, first = span.first, last = span.last;
  for (int64_t j = begin; j < end; j = j / 64 * 64 + 64) {
    const int64_t next = j / 64 * 64 + 64 < end ? j / 64 * 64 + 64 : end;
    const uint8_t all = boxes.box[j / 64] == program::Seen::all ? 1 : 0;
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t i = j; i < next; ++i) seen.keep[r][i] = all;
  }
  if (boxes.begin < boxes.end) {
    ProgramRow of[kTileRows];
    program_rows(row, rows, s + boxes.begin, ld, of);
    program_keep<Arch>(*rule.program, of, rows, base + boxes.begin, boxes.end - boxes.begin,
                       seen.keep[0] + boxes.begin, kMostBlock);
  }
  alignas(64) uint8_t any[kMostBlock];
  for (int64_t j = first; j < last; ++j) any[j] = 0;
  for (int64_t r = 0; r < rows; ++r) {
    uint8_t* keep = seen.keep[r];
    const Piece piece = row_piece(row[r], base, span);
    for (int64_t j = first; j < piece.begin; ++j) keep[j] = 0;
    for (int64_t j = piece.end; j < last; ++j) keep[j] = 0;
    if (const uint8_t* mask = row[r].mask; mask != nullptr)
      for (int64_t j = piece.begin; j < piece.end; ++j) keep[j] &= mask[base + j];
    for (int64_t j = first; j < last; ++j) any[j] |= keep[j];
  }
  int64_t count = 0;
  for (int64_t v = first / W; v < last / W; ++v) {
    uint32_t bytes[W / 4], some = 0;
    __builtin_memcpy(bytes, any + v * W, W);
    ATTN_UNROLL
    for (int64_t i = 0; i < W / 4; ++i) some |= bytes[i];
    seen.vector[count] = static_cast<int32_t>(v);
    count += some != 0 ? 1 : 0;
  }
  seen.count = count;
  seen.end = limit - base;
  if (count == 0) return false;
  const int64_t from = seen.vector[0] * W, to = (seen.vector[count - 1] + 1) * W;
  span = {from > begin ? from : begin, to < end ? to : end, from, to};
  return true;
}

// Whether so few vectors of the span have keys that the others are left out.
template <class Arch>
ATTN_INLINE bool is_sparse(const Span& span, const SeenKeys& seen) {
  return seen.count * 8 * kWidth<Arch> < (span.last - span.first) * 7;
}

// -infinity where the row has no key.
template <class Arch>
ATTN_INLINE void hide_others(const Span& span, const uint8_t* keep, float* s) {
  const Vec<Arch> never(kNever);
  for (int64_t j = span.first; j < span.last; j += kWidth<Arch>)
    store<Arch>(s + j, select_bytes<Arch>(keep + j, load<Arch>(s + j), never));
}

// The same of listed vectors; returns the maximum, at least `max`.
template <class Arch>
ATTN_INLINE float hide_others(const SeenKeys& seen, const uint8_t* keep, float* s, float max) {
  using V = Vec<Arch>;
  constexpr int64_t W = kWidth<Arch>;
  const V never(kNever);
  V m(max);
  for (int64_t i = 0; i < seen.count; ++i) {
    const V x = select_bytes<Arch>(keep + seen.vector[i] * W, load<Arch>(s + i * W), never);
    store<Arch>(s + i * W, x);
    m = max_of<Arch>(x, m);
  }
  return max_lanes<Arch>(m);
}

template <class Arch, class F, class G>
ATTN_INLINE float exp2_and_sum(const SeenKeys& seen, float* s, F&& exponent, G&& also) {
  using V = Vec<Arch>;
  constexpr int64_t W = kWidth<Arch>;
  V even(0.0f), odd(0.0f);
  for (int64_t i = 0; i < seen.count; ++i) {
    const int which = seen.vector[i] & 1;
    const V x = exponent(load<Arch>(s + i * W)), a = exp2_softmax<Arch>(x);
    store<Arch>(s + i * W, a);
    if (which == 0)
      even += a;
    else
      odd += a;
    also(a, x, which);
  }
  return sum_lanes<Arch>(even + odd);
}

// Of the weights of listed vectors.
template <class Arch>
ATTN_INLINE void drop(const AttentionRule& rule, uint64_t index, const SeenKeys& seen, float* s) {
  constexpr int64_t W = kWidth<Arch>;
  for (int64_t i = 0, next; i < seen.count; i = next) {
    for (next = i + 1; next < seen.count && seen.vector[next] == seen.vector[next - 1] + 1;) ++next;
    const int64_t first = seen.vector[i] * W;
    drop<Arch>(rule, index + static_cast<uint64_t>(first), 0, (next - i) * W, s + i * W);
  }
}

// s[r * ld + i * W ...] = a_row(r) . keys of vector i, from panels of transposed keys. Vectors of one product may come
// from anywhere: one at a time they would wait for each other.
template <class Arch>
__attribute__((noinline)) void seen_scores(int64_t rows, const float* a, int64_t a_row,
                                           int64_t depth, const float* panels, int64_t base,
                                           const SeenKeys& seen, float* s, int64_t ld) {
  constexpr int64_t W = kWidth<Arch>, P = kPanel<Arch>, N = kTileVectors<Arch>;
  with_rows<Arch>(rows, [&](auto mr) {
    for (int64_t i = 0; i < seen.count; i += N) {
      with_vectors<Arch>(seen.count - i < N ? seen.count - i : N, [&](auto nv) {
        using V = Vec<Arch>;
        const float* b[nv.value];
        ATTN_UNROLL
        for (int j = 0; j < nv.value; ++j) {
          const int64_t key = base + seen.vector[i + j] * W;
          b[j] = panels + key / P * P * depth + key % P;
        }
        V c[mr.value][nv.value];
        clear<Arch, mr.value, nv.value>(c);
        for (int64_t p = 0; p < depth; ++p) {
          V row[nv.value];
          ATTN_UNROLL
          for (int j = 0; j < nv.value; ++j) row[j] = load<Arch>(b[j] + p * P);
          ATTN_UNROLL
          for (int r = 0; r < mr.value; ++r) {
            const V x(a[r * a_row + p]);
            ATTN_UNROLL
            for (int j = 0; j < nv.value; ++j) c[r][j] = fma<Arch>(x, row[j], c[r][j]);
          }
        }
        ATTN_UNROLL
        for (int r = 0; r < mr.value; ++r) {
          ATTN_UNROLL
          for (int j = 0; j < nv.value; ++j) store<Arch>(s + r * ld + (i + j) * W, c[r][j]);
        }
      });
    }
  });
}

// The score program on listed vectors. Lanes behind the last key see the last one.
template <class Arch>
ATTN_INLINE void seen_program(const AttentionTile& t, const AttentionRow* row, int64_t rows,
                              int64_t base, const SeenKeys& seen, float* s, int64_t ld) {
  constexpr int64_t W = kWidth<Arch>;
  int32_t keys[kMostBlock];
  const auto last = static_cast<int32_t>(t.keys - 1);
  for (int64_t i = 0; i < seen.count; ++i) {
    const auto first = static_cast<int32_t>(base + seen.vector[i] * W);
    for (int32_t j = 0; j < W; ++j) keys[i * W + j] = first + j < last ? first + j : last;
  }
  ProgramRow of[kTileRows];
  program_rows(row, rows, s, ld, of);
  program_scores<Arch>(*t.rule->program, of, rows, 0, seen.count * W, keys);
}

// acc = sum over the keys of listed vectors of p[r, key] v[key, :], as multiply() for all of a span.
template <class Arch, int MR, int NV, bool kLast>
ATTN_INLINE void weigh(Accumulator<Arch, MR, NV>& acc, const SeenKeys& seen, const float* p,
                       int64_t ld, const float* v, int64_t v_row, int64_t last) {
  constexpr int64_t W = kWidth<Arch>;
  Vec<Arch> c[MR][NV];
  clear<Arch, MR, NV>(c);
  for (int64_t i = 0; i < seen.count; ++i) {
    const int64_t key = seen.vector[i] * W, n = seen.end - key < W ? seen.end - key : W;
    add_product<Arch, MR, NV, kLast>(c, n, p + i * W, ld, 1, v + key * v_row, v_row, last);
  }
  ATTN_UNROLL
  for (int i = 0; i < MR; ++i) {
    ATTN_UNROLL
    for (int j = 0; j < NV; ++j) acc.c[i][j] = c[i][j];
  }
}

}  // namespace attn::kernels::simd
