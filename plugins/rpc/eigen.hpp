// SPDX-License-Identifier: Apache-2.0
//
// Eigenvalues and eigenvectors of a symmetric matrix of doubles, on one thread: Householder's reduction to three
// diagonals, then implicit QL with Wilkinson's shift (Golub, Van Loan, Matrix Computations, sections 8.3.1 and
// 8.3.3). Errors are some eps of the largest eigenvalue. Memory of the caller; nothing throws; numbers that are not
// finite give eigenvalues that are not finite. Results depend on the kernels' instruction set alone. [any-thread]
#pragma once

#include <attn/sdk/worker_memory.hpp>

#include "kernels/matrix.hpp"

namespace rpc {

// Rows of n doubles are padded to a multiple of 8 that is odd in units of 8: powers of two would share cache sets.
inline int64_t padded(int64_t n) { return ((n + 7) / 8 | 1) * 8; }

class Eigen {
 public:
  // n: largest size.
  Eigen(const MatrixKernels& kernels, int64_t n, attn::sdk::Arena& memory);

  // Decomposes a (n, ld), both triangles given; a is used up. values (n), in no order.
  void decompose(int64_t n, int64_t ld, double* a, double* values);
  // Row r of out (count, ld) becomes the eigenvector of values[which[r]] of the last decompose().
  void vectors(int64_t count, const int64_t* which, double* out) const;

 private:
  void tridiagonalize(double* a);
  void diagonalize();
  void flush();
  [[nodiscard]] int64_t columns() const { return (n_ + 7) / 8 * 8; }

  const MatrixKernels& kernels_;
  int64_t n_ = 0, ld_ = 0, pending_ = 0, capacity_;
  double *z_, *reflectors_, *beta_, *d_, *e_, *v_, *w_, *p_, *next_;
  Rotation* rotations_;
};

}  // namespace rpc
