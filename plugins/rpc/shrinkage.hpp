// SPDX-License-Identifier: Apache-2.0
//
// Singular-value thresholding of one square matrix, and principal-component pursuit made of it, on one thread in
// double; with their adjoints.
//
//   SVT(M) = U max(sigma - tau, 0) V^T                                  Cai, Candes, Shen 2010, eq. 1.5
//   S = 0;  T times:  L = SVT(A - S),  S = soft(A - L, lambda);  R = L + S     shrinkage steps of
//                                                                       Candes, Li, Ma, Wright 2011, algorithm 1
//
// V and sigma^2 are eigenvectors and eigenvalues of M^T M; only those above tau take part, L = (M V) h V^T with
// h = 1 - tau / sigma. Small sigma have large errors there, and no weight. Matrices are (n, ld), zeros behind column
// n. Memory of the caller; nothing throws; results depend on the kernels' instruction set alone. [any-thread]
#pragma once

#include <cstddef>
#include <cstdint>

#include "eigen.hpp"

namespace rpc {

// Hands out parts of a block of doubles, each aligned like its beginning.
class Memory {
 public:
  explicit Memory(double* p) : p_(p) {}
  double* take(int64_t n) {
    double* const r = p_;
    p_ += (n + 7) / 8 * 8;
    return r;
  }
  static size_t rounded(int64_t n) { return static_cast<size_t>((n + 7) / 8 * 8); }

 private:
  double* p_;
};

// What one thresholding found: r singular values above tau and their vectors first, then the others.
struct Spectrum {
  int64_t r = 0;
  bool complete = false;  // the others are there
  double *sigma, *v;      // (n), (n, ld): rows are right singular vectors
  static size_t room(int64_t n);
  Spectrum(int64_t n, Memory& memory);
};

class Thresholding {
 public:
  Thresholding(const MatrixKernels& kernels, int64_t n, double tau, Memory& memory);
  static size_t room(int64_t n);

  // l = SVT(m). complete: for adjoint().
  void apply(int64_t n, int64_t ld, const double* m, double* l, Spectrum& s, bool complete);
  // out = adjoint of SVT at m, applied to g.
  void adjoint(int64_t n, int64_t ld, const double* m, const Spectrum& s, const double* g,
               double* out);

 private:
  void transpose(int64_t rows, int64_t columns, const double* from, double* to) const;
  void multiply(int64_t m, int64_t n, int64_t k, const double* a, int64_t a_row, int64_t a_col,
                const double* b, double* c, bool add) const {
    kernels_.multiply(m, (n + 7) / 8 * 8, k, a, a_row, a_col, b, ld_, c, ld_, add);
  }

  const MatrixKernels& kernels_;
  Eigen eigen_;
  double tau_;
  int64_t ld_ = 0;
  static constexpr int kMatrices = 8;
  double* x_[kMatrices];
  double* values_;
  int64_t* which_;
};

struct PursuitRule {
  double tau, lambda;
  int64_t sweeps;
};

class Pursuit {
 public:
  // memory: room(n). record: record_room(), what backward() needs of forward(), which may have been run by another
  // object; nullptr: there will be no backward().
  Pursuit(const MatrixKernels& kernels, const PursuitRule& rule, int64_t n, double* memory,
          double* record);
  static size_t room(int64_t n);
  static size_t record_room(const PursuitRule& rule, int64_t n);

  // The matrix to fill before a run: (n, ld).
  [[nodiscard]] double* a() { return a_; }
  // r (n, ld) = the low-rank and the sparse part of a().
  void forward(int64_t n, int64_t ld, double* r);
  // ga (n, ld) = the adjoint of the forward() of this a(), applied to gr, which is used up.
  void backward(int64_t n, int64_t ld, double* gr, double* ga);

 private:
  // The sparse part after a sweep, and what the sweep found; without a record the same memory for all.
  [[nodiscard]] double* sparse(int64_t sweep) const {
    return sparse_ + (recorded_ ? sweep : 0) * size_;
  }
  [[nodiscard]] Spectrum spectrum(int64_t n, int64_t sweep) const;

  PursuitRule rule_;
  bool recorded_;
  int64_t size_, spectrum_size_;
  Memory memory_;
  Thresholding svt_;
  double *a_, *m_, *l_, *sparse_, *spectra_;
  int64_t* ranks_;  // of each sweep; then how many there were
};

}  // namespace rpc
