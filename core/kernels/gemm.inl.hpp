// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/kernels/gemm.hpp"
#include "core/kernels/micro.inl.hpp"

namespace attn::kernels::simd {

template <class Arch>
GemmLayout gemm_layout() {
  return {kPanel<Arch>, kWidth<Arch>};
}

// One tile: multiply and write.
template <class Arch, int MR, int NV, bool kPackedA>
__attribute__((noinline)) void gemm_tile(const GemmBlock& g, const float* a, const float* b,
                                         int64_t b_row, float* c, const float* bias,
                                         int64_t columns) {
  using V = Vec<Arch>;
  constexpr int64_t W = kWidth<Arch>;
  // What is written below comes from far away, and arrives while the sums are made.
  ATTN_UNROLL
  for (int i = 0; i < MR; ++i) {
    ATTN_UNROLL
    for (int j = 0; j < NV; ++j) __builtin_prefetch(c + i * g.c_row + j * W, 1);
  }
  Accumulator<Arch, MR, NV> acc;
  if constexpr (kPackedA) {
    multiply<Arch, MR, NV>(acc, g.k, a, 1, MR, b, b_row);
  } else {
    multiply<Arch, MR, NV>(acc, g.k, a, g.a_row, 1, b, b_row);
  }
  const V alpha(g.alpha);
  const bool whole = columns == NV * W;
  ATTN_UNROLL
  for (int i = 0; i < MR; ++i) {
    float* out = c + i * g.c_row;
    ATTN_UNROLL
    for (int j = 0; j < NV; ++j) {
      const int64_t lanes = whole || j < NV - 1 ? W : columns - (NV - 1) * W;
      V x = acc.c[i][j] * alpha;
      if (lanes == W) {
        if (g.accumulate) x += load<Arch>(out + j * W);
        if (bias != nullptr) x += load<Arch>(bias + j * W);
        store<Arch>(out + j * W, x);
      } else {
        if (g.accumulate) x += load_first<Arch>(out + j * W, lanes);
        if (bias != nullptr) x += load_first<Arch>(bias + j * W, lanes);
        store_first<Arch>(out + j * W, x, lanes);
      }
    }
  }
}

template <class Arch>
void gemm_block(const GemmBlock& g) {
  constexpr int64_t W = kWidth<Arch>;
  const Groups cut = groups<Arch>(g.m);
  for (int64_t j = 0; j < g.n; j += kPanel<Arch>) {
    const bool tail = g.n - j < kPanel<Arch>;
    const int64_t columns = tail ? g.n - j : kPanel<Arch>;
    const float* b = tail ? g.b_tail : g.b + j / kPanel<Arch> * g.b_panel;
    const int64_t b_row = tail ? g.b_tail_row : g.b_row;
    const float* bias = g.bias == nullptr ? nullptr : g.bias + j;
    with_vectors<Arch>((columns + W - 1) / W, [&](auto nv) {
      int64_t row = 0;
      for (int64_t i = 0; i < cut.count; ++i) {
        const int64_t rows = cut.rows(i);
        with_rows<Arch>(rows, [&](auto mr) {
          if (g.packed_a) {
            gemm_tile<Arch, mr.value, nv.value, true>(g, g.a + row * g.k, b, b_row,
                                                      g.c + row * g.c_row + j, bias, columns);
          } else {
            gemm_tile<Arch, mr.value, nv.value, false>(g, g.a + row * g.a_row, b, b_row,
                                                       g.c + row * g.c_row + j, bias, columns);
          }
        });
        row += rows;
      }
    });
  }
}

// One panel of B: rows of dst are `padded` floats apart; behind the columns zeros up to a whole vector at least.
template <class Arch>
void gemm_pack_panel(int64_t k, int64_t columns, int64_t padded, const float* b, int64_t b_row,
                     int64_t b_col, float* dst) {
  constexpr int64_t W = kWidth<Arch>;
  if (b_row == 1 && b_col != 1) {
    return transpose_into<Arch>(columns, k, b, b_col, dst, padded);
  }
  for (int64_t p = 0; p < k; ++p) {
    const float* src = b + p * b_row;
    float* out = dst + p * padded;
    int64_t j = 0;
    if (b_col == 1) {
      if (p + kFar < k) prefetch_row(src + kFar * b_row, columns);
      for (; j + W <= columns; j += W) store<Arch>(out + j, load<Arch>(src + j));
      if (j < columns) store<Arch>(out + j, load_first<Arch>(src + j, columns - j));
    } else {
      for (; j < columns; ++j) out[j] = src[j * b_col];
      for (; j < padded; ++j) out[j] = 0.0f;
    }
  }
}

// Rows of A in groups as gemm_block takes them: group by group, dst[p * rows_of_group + i].
template <class Arch>
void gemm_pack_a(int64_t m, int64_t k, const float* a, int64_t a_row, int64_t a_col, float* dst) {
  const Groups cut = groups<Arch>(m);
  if (a_row == 1) {
    // So many columns at a time that all their rows stay in L1 while the groups take their parts of them.
    constexpr int64_t kColumns = 48;
    for (int64_t first = 0; first < k; first += kColumns) {
      const int64_t last = first + kColumns < k ? first + kColumns : k;
      int64_t row = 0;
      for (int64_t i = 0; i < cut.count; ++i) {
        const int64_t rows = cut.rows(i);
        with_rows<Arch>(rows, [&](auto mr) {
          const float* src = a + row + first * a_col;
          float* out = dst + row * k + first * mr.value;
          for (int64_t p = first; p < last; ++p, src += a_col, out += mr.value) {
            ATTN_UNROLL
            for (int r = 0; r < mr.value; ++r) out[r] = src[r];
          }
        });
        row += rows;
      }
    }
    return;
  }
  float* out = dst;
  int64_t row = 0;
  for (int64_t i = 0; i < cut.count; ++i) {
    const int64_t rows = cut.rows(i);
    for (int64_t p = 0; p < k; ++p) {
      for (int64_t r = 0; r < rows; ++r) out[p * rows + r] = a[(row + r) * a_row + p * a_col];
    }
    out += rows * k;
    row += rows;
  }
}

// dst[i] = sum over parts of src[part * stride + i], in the order of the parts.
template <class Arch>
void sum_parts(int64_t n, int64_t parts, const float* src, int64_t stride, float* dst) {
  constexpr int64_t W = kWidth<Arch>;
  for (int64_t i = 0; i < n; i += W) {
    const int64_t lanes = n - i < W ? n - i : W;
    Vec<Arch> x = load_first<Arch>(src + i, lanes);
    for (int64_t p = 1; p < parts; ++p) x += load_first<Arch>(src + p * stride + i, lanes);
    store_first<Arch>(dst + i, x, lanes);
  }
}

}  // namespace attn::kernels::simd
