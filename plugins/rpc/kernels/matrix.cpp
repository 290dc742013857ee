// SPDX-License-Identifier: Apache-2.0
//
// kernels/matrix.hpp in the vectors of one instruction set. No header of the standard library: a function compiled
// here must not stand in for one of the baseline.
#include "matrix.hpp"

namespace rpc::ATTN_KERNEL_LEVEL {
#include "../matrix.inl.hpp"

namespace {

#if defined(__AVX512F__)
constexpr int kBytes = 64;
#elif defined(__AVX2__)
constexpr int kBytes = 32;
#else
constexpr int kBytes = 16;
#endif

#define ATTN_LANES inline __attribute__((always_inline)) static

struct Lanes {
  typedef double V __attribute__((vector_size(kBytes)));
  typedef double Loose __attribute__((vector_size(kBytes), aligned(8), may_alias));
  static constexpr int64_t kWidth = kBytes / 8;
  ATTN_LANES V load(const double* p) { return *reinterpret_cast<const Loose*>(p); }
  ATTN_LANES void store(double* p, V v) { *reinterpret_cast<Loose*>(p) = v; }
  ATTN_LANES V set(double x) { return x - V{}; }
};

}  // namespace

const MatrixKernels& matrix_kernels() { return Matrix<Lanes>::kTable; }

}  // namespace rpc::ATTN_KERNEL_LEVEL
