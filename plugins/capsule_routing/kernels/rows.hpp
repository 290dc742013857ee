// SPDX-License-Identifier: Apache-2.0
//
// What the head capsules do with the scores of one query: `heads` rows of n floats, `stride` apart. Compiled once for
// each instruction set; row_kernels() of a level is the same functions in its vectors. Sums over n run in lanes of
// that level: results depend on it, not on threads. [any-thread]
#pragma once

#include <stdint.h>

namespace capsule {

struct HeadRows {
  int64_t heads, n, stride;
  float* rows;  // scores; overwritten where a function says so
};

struct RowKernels {
  // g (heads, heads) = rows rows^T.
  void (*gram)(const HeadRows&, double* g);
  // cap (n) = sum_h gamma[h] row h.
  void (*combine)(const HeadRows&, const float* gamma, float* cap);
  // Row g becomes w_g cap (+ cap), w the softmax over g of cap sums[g] + bias[g].
  void (*share)(const HeadRows&, const float* cap, const float* sums, const float* bias, bool add);
  // The way back: dcap (n, written) from the gradients dout of the shares; the gradients of sums and bias are added
  // to totals (2, heads). scratch: 3 heads vectors of 16.
  void (*share_back)(const HeadRows&, const float* cap, const float* sums, const float* bias,
                     bool add, const float* dout, int64_t dout_stride, float* dcap, double* totals,
                     float* scratch);
  // out[h] = row h . x
  void (*dots)(const HeadRows&, const float* x, double* out);
  // Row h becomes gamma[h] dcap + sum_k mix[h, k] row k. scratch: heads vectors of 16.
  void (*mix)(const HeadRows&, const float* gamma, const float* dcap, const float* mix,
              float* scratch);
};

namespace sse2 {
const RowKernels& row_kernels();
}
namespace avx2 {
const RowKernels& row_kernels();
}
namespace avx512 {
const RowKernels& row_kernels();
}

}  // namespace capsule
