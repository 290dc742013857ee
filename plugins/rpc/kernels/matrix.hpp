// SPDX-License-Identifier: Apache-2.0
//
// The inner loops of the eigen-solver, on matrices of doubles: row-major, rows `ld`
// apart, ld a multiple of 8, zeros behind the last column. Compiled once for each instruction set. [any-thread]
#pragma once

#include <stdint.h>

namespace rpc {

// A plane rotation of rows i and i + 1: (x, y) becomes (c x - s y, s x + c y).
struct Rotation {
  int64_t i;
  double c, s;
};

struct MatrixKernels {
  // For rows i in [begin, end) of a: a_i -= v_i w + w_i v, then p_i = a_i . next. Columns from `first` to `last`, both
  // multiples of 8.
  void (*reduce)(int64_t begin, int64_t end, int64_t first, int64_t last, int64_t ld, double* a,
                 const double* v, const double* w, const double* next, double* p);
  // Sweeps of rotations, in order, on the first `columns` of the rows of z. Those of one sweep go down: i, i - 1, ...
  void (*rotate)(int64_t count, const Rotation* r, int64_t columns, int64_t ld, double* z);
  // Each of `rows` rows x of z: x -= beta (v . x) v, columns from `first` to `last`.
  void (*reflect)(int64_t rows, int64_t first, int64_t last, int64_t ld, double beta,
                  const double* v, double* z);
};

// Of the level that attn_engine::cpu_level() names.
const MatrixKernels& matrix_kernels(const char* level);

}  // namespace rpc
