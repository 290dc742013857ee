// SPDX-License-Identifier: Apache-2.0
//
// The micro-kernel under GEMM and attention: C[MR x NV vectors] = A * B with all of C in registers. Each
// step broadcasts MR elements of A and multiplies them with NV vectors of one row of B. A is addressed as
// a[i * a_row + p * a_col], so the same code serves the transposed products of the backward pass; strides
// that are constants at the call become immediate offsets, because everything is inlined.
// The loop over k is not blocked here. For each element of C the order of operations depends on k alone,
// neither on MR and NV nor on the position in the tile: cutting m and n freely never changes a result.
//
// Shape 6 x 4 vectors (24 of 32 registers) and 6 x 2 (16 registers). 12x2, 8x3, 14x2 and 5x4
// were 0-5 % slower, 4x3 on AVX2 8 %.
#pragma once

#include "core/kernels/simd.hpp"

namespace attn::kernels::simd {

inline constexpr int kTileRows = 6;
template <class Arch>
inline constexpr int kTileVectors = Isa<Arch>::kRegisters == 32 ? 4 : 2;
// Rows of B that are asked for ahead of use: worth 10 % where B comes from L2 or beyond.
inline constexpr int64_t kAhead = 8;
// Columns of a packed panel.
template <class Arch>
inline constexpr int64_t kPanel = kTileVectors<Arch>* kWidth<Arch>;

template <class Arch, int MR, int NV>
struct Accumulator {
  Vec<Arch> c[MR][NV];
};

template <class Arch, int MR, int NV>
ATTN_INLINE void clear(Vec<Arch> (&c)[MR][NV]) {
  ATTN_UNROLL
  for (int i = 0; i < MR; ++i) {
    ATTN_UNROLL
    for (int j = 0; j < NV; ++j) c[i][j] = Vec<Arch>(0.0f);
  }
}

// c += A * B. kLast: the last vector of a row of B has only `last` elements in memory.
template <class Arch, int MR, int NV, bool kLast = false>
ATTN_INLINE void add_product(Vec<Arch> (&c)[MR][NV], int64_t k, const float* a, int64_t a_row,
                             int64_t a_col, const float* b, int64_t b_row, int64_t last = 0) {
  using V = Vec<Arch>;
  constexpr int64_t W = kWidth<Arch>;
  for (int64_t p = 0; p < k; ++p) {
    V row[NV];
    ATTN_UNROLL
    for (int j = 0; j < NV; ++j) __builtin_prefetch(b + kAhead * b_row + j * W);
    ATTN_UNROLL
    for (int j = 0; j < NV; ++j) {
      row[j] = kLast && j == NV - 1 ? load_first<Arch>(b + j * W, last) : load<Arch>(b + j * W);
    }
    ATTN_UNROLL
    for (int i = 0; i < MR; ++i) {
      const V x(a[i * a_row]);
      ATTN_UNROLL
      for (int j = 0; j < NV; ++j) c[i][j] = fma<Arch>(x, row[j], c[i][j]);
    }
    a += a_col;
    b += b_row;
  }
}

template <class Arch, int MR, int NV, bool kLast = false>
ATTN_INLINE void multiply(Accumulator<Arch, MR, NV>& acc, int64_t k, const float* a, int64_t a_row,
                          int64_t a_col, const float* b, int64_t b_row, int64_t last = 0) {
  Vec<Arch> c[MR][NV];
  clear<Arch, MR, NV>(c);
  add_product<Arch, MR, NV, kLast>(c, k, a, a_row, a_col, b, b_row, last);
  ATTN_UNROLL
  for (int i = 0; i < MR; ++i) {
    ATTN_UNROLL
    for (int j = 0; j < NV; ++j) acc.c[i][j] = c[i][j];
  }
}

// Calls f with std::integral_constant-like values for 1 <= mr <= kTileRows, 1 <= nv <= kTileVectors.
template <int N>
struct Int {
  static constexpr int value = N;
};

template <class Arch, class F>
ATTN_INLINE void with_rows(int64_t mr, F&& f) {
  switch (mr) {
    case 1:
      f(Int<1>{});
      break;
    case 2:
      f(Int<2>{});
      break;
    case 3:
      f(Int<3>{});
      break;
    case 4:
      f(Int<4>{});
      break;
    case 5:
      f(Int<5>{});
      break;
    default:
      f(Int<6>{});
      break;
  }
}
template <class Arch, class F>
ATTN_INLINE void with_vectors(int64_t nv, F&& f) {
  if constexpr (kTileVectors<Arch> == 4) {
    switch (nv) {
      case 1:
        f(Int<1>{});
        break;
      case 2:
        f(Int<2>{});
        break;
      case 3:
        f(Int<3>{});
        break;
      default:
        f(Int<4>{});
        break;
    }
  } else {
    switch (nv) {
      case 1:
        f(Int<1>{});
        break;
      default:
        f(Int<2>{});
        break;
    }
  }
}

// Rows are cut into groups of at most kTileRows whose sizes differ by at most one.
struct Groups {
  int64_t count, small, big, last;  // `big` groups of small + 1 rows come first
  [[nodiscard]] ATTN_INLINE int64_t rows(int64_t i) const {
    return i == count - 1 ? last : small + (i < big ? 1 : 0);
  }
};
template <class Arch>
ATTN_INLINE Groups groups(int64_t rows) {
  const int64_t count = (rows + kTileRows - 1) / kTileRows;
  return {count, rows / count, rows % count, rows / count};
}
// Groups of `each` rows, and what is left in the last.
ATTN_INLINE Groups groups_of(int64_t each, int64_t rows) {
  const int64_t count = (rows + each - 1) / each;
  return {count, each, 0, rows - (count - 1) * each};
}

// Rows that lie far apart are not foreseen by the hardware, which stops at the end of a page: they are asked for so
// many rows ahead.
inline constexpr int64_t kFar = 16;
ATTN_INLINE void prefetch_row(const float* row, int64_t n) {
  for (int64_t d = 0; d < n; d += 16) __builtin_prefetch(row + d);
}
ATTN_INLINE void prefetch_row_to_write(const float* row, int64_t n) {
  for (int64_t d = 0; d < n; d += 16) __builtin_prefetch(row + d, 1);
}

// Four numbers at any address.
typedef float Four __attribute__((vector_size(16), aligned(4), may_alias));
ATTN_INLINE const Four& four(const float* p) { return *reinterpret_cast<const Four*>(p); }
ATTN_INLINE Four& four(float* p) { return *reinterpret_cast<Four*>(p); }

// dst[p * ld + j] = src[j * stride + p] for j < columns, p < k; zeros behind them up to a whole vector, which must lie
// within ld. 4 x 4 blocks transposed in registers.
template <class Arch>
ATTN_INLINE void transpose_into(int64_t columns, int64_t k, const float* src, int64_t stride,
                                float* dst, int64_t ld) {
  if (const int64_t rest = columns / kWidth<Arch> * kWidth<Arch>; rest < columns) {
    for (int64_t p = 0; p < k; ++p) store<Arch>(dst + p * ld + rest, Vec<Arch>(0.0f));
  }
  int64_t j = 0;
  for (; j + 4 <= columns; j += 4) {
    for (int64_t i = j + kFar; i < j + kFar + 4 && i < columns; ++i)
      prefetch_row(src + i * stride, k);
    const float* s0 = src + j * stride;
    const float* s1 = s0 + stride;
    const float* s2 = s1 + stride;
    const float* s3 = s2 + stride;
    float* d = dst + j;
    int64_t p = 0;
    for (; p + 4 <= k; p += 4, d += 4 * ld) {
      const Four r0 = four(s0 + p), r1 = four(s1 + p), r2 = four(s2 + p), r3 = four(s3 + p);
      const Four t0 = __builtin_shufflevector(r0, r1, 0, 4, 1, 5);
      const Four t1 = __builtin_shufflevector(r2, r3, 0, 4, 1, 5);
      const Four t2 = __builtin_shufflevector(r0, r1, 2, 6, 3, 7);
      const Four t3 = __builtin_shufflevector(r2, r3, 2, 6, 3, 7);
      four(d) = __builtin_shufflevector(t0, t1, 0, 1, 4, 5);
      four(d + ld) = __builtin_shufflevector(t0, t1, 2, 3, 6, 7);
      four(d + 2 * ld) = __builtin_shufflevector(t2, t3, 0, 1, 4, 5);
      four(d + 3 * ld) = __builtin_shufflevector(t2, t3, 2, 3, 6, 7);
    }
    for (; p < k; ++p, d += ld) {
      d[0] = s0[p];
      d[1] = s1[p];
      d[2] = s2[p];
      d[3] = s3[p];
    }
  }
  for (; j < columns; ++j) {
    for (int64_t p = 0; p < k; ++p) dst[p * ld + j] = src[j * stride + p];
  }
}

}  // namespace attn::kernels::simd
