// SPDX-License-Identifier: Apache-2.0
//
// Products with a matrix kept in bfloat16, float16 or int8: C = A x B (+ bias), computed in float32. Where few rows of A
// meet a large B its bytes are the time, and there are half or a quarter of them.
//
// Layout of B (k, n), the same at every level: panels of kCompactColumns columns one after the other; the last one is
// as wide as its columns, rounded up to 16, with zeros behind them. In a panel groups of kCompactGroup rows; each of
// int8 begins with the scales of its columns, float32: b = scale * q, with |q| <= 127 and the scale 1/127 of the
// largest magnitude. bfloat16 and float16 are rounded to nearest, ties to even. Numbers are made of the bits at every
// level alike; sums are rounded as the level and the number of rows have it, never by the number of threads.
// A group that holds what is no number has nothing else in that column. [call-thread]
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/tensor/dtype.hpp"
#include "core/threads/parallel.hpp"

namespace attn::kernels {

inline constexpr int64_t kCompactColumns = 64, kCompactGroup = 64;

// Bytes of one number; int8 without its scale.
[[nodiscard]] constexpr int64_t compact_element(StorageKind kind) {
  return kind == StorageKind::int8 ? 1 : kind == StorageKind::float32 ? 4 : 2;
}

// Columns of the panel that begins at column `first`, with the zeros behind them.
[[nodiscard]] constexpr int64_t compact_width(int64_t n, int64_t first) {
  const int64_t columns = n - first < kCompactColumns ? n - first : kCompactColumns;
  return (columns + 15) / 16 * 16;
}

// Bytes of the first `rows` rows of a panel; whole groups unless they are the last.
[[nodiscard]] constexpr int64_t compact_bytes(StorageKind kind, int64_t rows, int64_t width) {
  const int64_t groups = (rows + kCompactGroup - 1) / kCompactGroup;
  const int64_t scales =
      kind == StorageKind::int8 ? groups * static_cast<int64_t>(sizeof(float)) : 0;
  return width * (rows * compact_element(kind) + scales);
}

// Of the whole matrix. At an address that is a multiple of 64 it is faster.
[[nodiscard]] size_t compact_size(StorageKind kind, int64_t k, int64_t n);

// b: rows side by side. kind: not float32. False: a number is finite and too large for the kind. [any-thread]
[[nodiscard]] bool compact(StorageKind kind, int64_t k, int64_t n, const float* b, void* dst);

struct CompactGemm {
  StorageKind kind;
  int64_t m, n, k;
  const float* a;
  int64_t a_row, a_col;
  const void* b;
  float* c;
  int64_t c_row;
  const float* bias = nullptr;  // (n), added to every row
};
void gemm(const CompactGemm& g, Parallel& parallel);

// ---- what the driver gives to the kernels of one instruction set ----------------------------------

inline constexpr int64_t kCompactRows = 24;  // of A at most in compact_panel

// One panel of B, and the columns of C that belong to it.
struct CompactPanel {
  StorageKind kind;
  int64_t m, columns, k;
  const float* a;
  int64_t a_row, a_col;
  const void* b;
  float* c;
  int64_t c_row;
  const float* bias;
};

}  // namespace attn::kernels
