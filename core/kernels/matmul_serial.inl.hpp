// SPDX-License-Identifier: Apache-2.0
//
// attn_kernels::matmul_serial_f32 and _f64 (abi.h): one product on one thread, without memory beyond the stack.
//
// Blocks of rows by vectors of C stay in registers while k runs. Rows of B are read where they lie; columns that do not
// lie side by side, or that do not fill the last vector, are packed on the stack first, kSerialDepth rows at a time.
// Each element of C is C (or 0), then a product added for each p in order: cutting never changes a bit.
#pragma once

#include <attn/sdk/simd.hpp>

#include "core/kernels/micro.inl.hpp"

namespace attn::kernels::simd {

namespace lanes = attn::sdk::simd;

inline constexpr int64_t kSerialDepth = 64;

// Vectors of a row of C, and rows beside so many vectors: 24 sums of 32 registers, 12 of 16. Fewer than 8 sums would
// wait for one another.
template <class Arch>
inline constexpr int kSerialVectors = lanes::kManyRegisters ? 4 : 2;
template <class Arch, int V>
inline constexpr int kSerialRows = V < 2 || (V < 4 && kSerialVectors<Arch> == 4) ? 8 : 6;

template <class Arch, class T>
struct SerialProduct {
  int64_t m, k;
  const T* a;
  int64_t a_row, a_col;
  const T* b;
  int64_t b_row;
  T* c;
  int64_t c_row;
  bool add;
  int64_t last;  // columns of the last vector of C
};

template <class Arch, int R, int V, class T>
ATTN_INLINE void serial_block(const SerialProduct<Arch, T>& s, int64_t row) {
  constexpr int64_t W = lanes::kWidth<T>;
  lanes::Vec<T> sum[R][V];
  T* c = s.c + row * s.c_row;
  const T *a = s.a + row * s.a_row, *b = s.b;
  ATTN_UNROLL
  for (int i = 0; i < R; ++i) {
    ATTN_UNROLL
    for (int v = 0; v < V; ++v) {
      sum[i][v] = lanes::Vec<T>{};
      if (!s.add) continue;
      const T* from = c + i * s.c_row + v * W;
      sum[i][v] = v < V - 1 || s.last == W ? lanes::load(from) : lanes::load_first(from, s.last);
    }
  }
  for (int64_t p = 0; p < s.k; ++p, a += s.a_col, b += s.b_row) {
    lanes::Vec<T> y[V];
    ATTN_UNROLL
    for (int v = 0; v < V; ++v) y[v] = lanes::load(b + v * W);
    ATTN_UNROLL
    for (int i = 0; i < R; ++i) {
      const lanes::Vec<T> x = lanes::set(a[i * s.a_row]);
      ATTN_UNROLL
      for (int v = 0; v < V; ++v) sum[i][v] = lanes::fma(x, y[v], sum[i][v]);
    }
  }
  ATTN_UNROLL
  for (int i = 0; i < R; ++i) {
    ATTN_UNROLL
    for (int v = 0; v < V; ++v) {
      T* to = c + i * s.c_row + v * W;
      if (v < V - 1 || s.last == W)
        lanes::store(to, sum[i][v]);
      else
        lanes::store_first(to, sum[i][v], s.last);
    }
  }
}

// Rows from `row` on: R at a time, then half as many.
template <class Arch, int R, int V, class T>
ATTN_INLINE void serial_rows(const SerialProduct<Arch, T>& s, int64_t row) {
  for (; row + R <= s.m; row += R) serial_block<Arch, R, V>(s, row);
  if constexpr (R > 1) serial_rows<Arch, R / 2, V>(s, row);
}
template <class Arch, int V, class T>
__attribute__((noinline)) void serial_panel(const SerialProduct<Arch, T>& s) {
  serial_rows<Arch, kSerialRows<Arch, V>, V>(s, 0);
}

template <class Arch, class T>
ATTN_INLINE void matmul_serial(int64_t m, int64_t n, int64_t k, const T* a, int64_t a_row,
                               int64_t a_col, const T* b, int64_t b_row, int64_t b_col, T* c,
                               int64_t c_row, int32_t accumulate) {
  constexpr int64_t W = lanes::kWidth<T>, kColumns = kSerialVectors<Arch> * W;
  alignas(64) T packed[kSerialDepth * kColumns];
  for (int64_t j = 0; j < n; j += kColumns) {
    const int64_t columns = n - j < kColumns ? n - j : kColumns;
    const int64_t vectors = (columns + W - 1) / W, wide = vectors * W;
    const bool pack = b_col != 1 || columns < wide;
    const int64_t depth = pack ? kSerialDepth : k;
    int64_t p = 0;
    do {
      SerialProduct<Arch, T> s{m,
                               k - p < depth ? k - p : depth,
                               a + p * a_col,
                               a_row,
                               a_col,
                               b + p * b_row + j * b_col,
                               b_row,
                               c + j,
                               c_row,
                               accumulate != 0 || p > 0,
                               columns - (vectors - 1) * W};
      if (pack) {
        // Along the rows of what lies transposed.
        const bool turn = b_row == 1;
        for (int64_t u = 0; u < (turn ? columns : s.k); ++u)
          for (int64_t w = 0; w < (turn ? s.k : columns); ++w)
            packed[turn ? w * wide + u : u * wide + w] =
                s.b[turn ? w + u * b_col : u * b_row + w * b_col];
        s.b = packed, s.b_row = wide;
      }
      if (vectors == 1) serial_panel<Arch, 1>(s);
      if (vectors == 2) serial_panel<Arch, 2>(s);
      if constexpr (kSerialVectors<Arch> == 4) {
        if (vectors == 3) serial_panel<Arch, 3>(s);
        if (vectors == 4) serial_panel<Arch, 4>(s);
      }
      p += depth;
    } while (p < k);
  }
}

template <class Arch>
void matmul_serial_f32(int64_t m, int64_t n, int64_t k, const float* a, int64_t a_row,
                       int64_t a_col, const float* b, int64_t b_row, int64_t b_col, float* c,
                       int64_t c_row, int32_t accumulate) {
  matmul_serial<Arch>(m, n, k, a, a_row, a_col, b, b_row, b_col, c, c_row, accumulate);
}
template <class Arch>
void matmul_serial_f64(int64_t m, int64_t n, int64_t k, const double* a, int64_t a_row,
                       int64_t a_col, const double* b, int64_t b_row, int64_t b_col, double* c,
                       int64_t c_row, int32_t accumulate) {
  matmul_serial<Arch>(m, n, k, a, a_row, a_col, b, b_row, b_col, c, c_row, accumulate);
}

}  // namespace attn::kernels::simd
