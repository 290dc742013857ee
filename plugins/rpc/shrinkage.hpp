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
// n. Memory of the caller; nothing throws; results depend on the level of the CPU alone. [any-thread]
#pragma once

#include <attn/sdk/matmul.hpp>
#include <attn/sdk/worker_memory.hpp>

#include "eigen.hpp"

namespace rpc {

using attn::sdk::Arena;

struct Kernels {
  const MatrixKernels& matrix;
  const attn_kernels& host;
};

// What one thresholding found: r singular values above tau and their vectors first, then the others.
struct Spectrum {
  int64_t r;
  double *sigma, *v;  // (n), (n, ld): rows are right singular vectors
};

class Thresholding {
 public:
  Thresholding(const Kernels& kernels, int64_t n, double tau, Arena& memory);

  // l = SVT(m). complete: for adjoint().
  void apply(int64_t n, int64_t ld, const double* m, double* l, Spectrum& s, bool complete);
  // out = adjoint of SVT at m, applied to g.
  void adjoint(int64_t n, int64_t ld, const double* m, const Spectrum& s, const double* g,
               double* out);

 private:
  using Operand = attn::sdk::Matrix<const double>;
  // c (m, n; rows ld apart) = a (m, k) b (k, n).
  void multiply(int64_t m, int64_t n, int64_t k, const Operand& a, const Operand& b, double* c,
                int64_t ld, bool add = false) const {
    attn::sdk::matmul_serial<double>(kernels_.host, m, n, k, a, b, {c, ld}, add);
  }

  const Kernels& kernels_;
  Eigen eigen_;
  double tau_;
  static constexpr int kMatrices = 6;
  double* x_[kMatrices];
  double* values_;
  int64_t* which_;
};

struct PursuitRule {
  double tau, lambda;
  int64_t sweeps;
};

// What backward() needs of forward(): the sparse part after each sweep and what the sweep found.
struct Record {
  double *sparse, *sigma, *v;
  int64_t* ranks;  // of each sweep; then how many there were
  Record(int64_t n, int64_t sweeps, Arena& memory);
};

class Pursuit {
 public:
  // record: may have been filled by another object; nullptr: there will be no backward().
  Pursuit(const Kernels& kernels, const PursuitRule& rule, int64_t n, Arena& memory, Arena* record);

  // The matrix to fill before a run: (n, ld).
  [[nodiscard]] double* a() { return a_; }
  // r (n, ld) = the low-rank and the sparse part of a().
  void forward(int64_t n, int64_t ld, double* r);
  // Its low-rank part.
  [[nodiscard]] const double* low_rank() const { return l_; }
  // ga (n, ld) = the adjoint of the forward() of this a(), applied to gr, which is used up.
  void backward(int64_t n, int64_t ld, double* gr, double* ga);

 private:
  // Of a sweep; without a record the same memory for all.
  [[nodiscard]] double* sparse(int64_t sweep) const {
    return record_.sparse + (recorded_ ? sweep * size_ : 0);
  }
  [[nodiscard]] Spectrum spectrum(int64_t sweep) const {
    const int64_t at = recorded_ ? sweep : 0;
    return {0, record_.sigma + at * n_, record_.v + at * size_};
  }

  PursuitRule rule_;
  bool recorded_;
  int64_t n_, size_;
  Thresholding svt_;
  double *a_, *m_, *l_;
  Record record_;
};

}  // namespace rpc
