// SPDX-License-Identifier: Apache-2.0
//
// Matrix products: C = alpha * A x B (+ C) (+ bias), one or many. float32 by the kernels of the level in use; float64,
// and the level `reference`, by scalar code.
//
// A is (m, k) with any strides. B is (k, n): with any strides, or packed once into the layout of the kernels
// (weights). C is (m, n) with contiguous rows. Strides count elements. Operands must not overlap C.
// Results depend on the shapes and the level, not on the number of threads, nor on whether B was packed.
// Scratch comes from the Parallel. [call-thread]
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/threads/parallel.hpp"

namespace attn::kernels {

template <class T>
struct GemmOf {
  int64_t m = 0, n = 0, k = 0;
  const T* a = nullptr;
  int64_t a_row = 0, a_col = 1;
  const T* b = nullptr;  // plain; or packed, below
  int64_t b_row = 0, b_col = 1;
  T* c = nullptr;
  int64_t c_row = 0;
  T alpha = 1;
  bool accumulate = false;  // add to what C holds
  // `batch` products; strides from one to the next, 0: the same operand (not for C). b_batch also steps `packed`.
  int64_t batch = 1, a_batch = 0, b_batch = 0, c_batch = 0;
  const T* packed = nullptr;        // B of pack_b at the current level, in place of b; float only
  const uint32_t* pairs = nullptr;  // B of pack_bf16, in place of b; b_batch 0
  const T* bias = nullptr;          // (n), added to every row
};
using Gemm = GemmOf<float>;

void gemm(const Gemm& g, Parallel& parallel);
void gemm(const GemmOf<double>& g, Parallel& parallel);
// The same for one product with B packed and a_col 1, on this thread and without scratch: for the bodies of
// parallel loops. [any-thread]
void gemm_serial(const Gemm& g);

// Floats that a packed (k, n) matrix takes; at an address that is a multiple of 64 it is faster.
[[nodiscard]] size_t packed_size(int64_t k, int64_t n);
// The layout is that of the level in use: keep packed_tag() beside the copy, and pack again when it differs.
[[nodiscard]] int packed_tag();
void pack_b(int64_t k, int64_t n, const float* b, int64_t b_row, int64_t b_col, float* dst);
void pack_b(int64_t k, int64_t n, const float* b, int64_t b_row, int64_t b_col, float* dst,
            Parallel& parallel);

// ---- what the driver gives to the kernels of one instruction set ----------------------------------

// A block of C whose B lies in panels of panel_width() columns: panel i begins at b + i * b_panel, its rows are
// b_row apart. The last panel, when n is no multiple of the width, is at b_tail with rows b_tail_row apart and
// zeros up to a whole vector.
struct GemmBlock {
  int64_t m, n, k;
  const float* a;
  int64_t a_row, a_col;  // a_col 1, or packed_a: groups of rows as pack_a leaves them
  const float* b;
  int64_t b_panel, b_row;
  const float* b_tail;
  int64_t b_tail_row;
  float* c;
  int64_t c_row;
  float alpha;
  const float* bias;
  bool accumulate;
  bool packed_a;
};

struct GemmLayout {
  int64_t panel, width;  // columns of a panel, of a vector
};

}  // namespace attn::kernels
