// SPDX-License-Identifier: Apache-2.0
//
// What the head capsules do with the scores of one query: `heads` rows of n numbers, `stride` apart. Compiled once for
// each instruction set. Sums over n run in lanes of that level, those of single numbers in double: results depend on
// the level, not on threads. Lanes: room for one vector, kLanes numbers. [any-thread]
#pragma once

#include <stdint.h>

namespace capsule {

constexpr int64_t kLanes = 16;

template <class T>
struct HeadRows {
  int64_t heads, n, stride;
  T* rows;  // scores; overwritten where a function says so
};

// The probability over the heads that column j is shared by: softmax over g of cap[j] sums[g] + bias[g]; `add` gives
// the whole of cap[j] to every head besides.
template <class T>
struct Sharing {
  const T *cap, *sums, *bias;
  bool add;
};

template <class T>
struct RowKernels {
  // g (heads, heads) = rows rows^T.
  void (*gram)(const HeadRows<T>&, double* g);
  // cap (n) = sum_h gamma[h] row h.
  void (*combine)(const HeadRows<T>&, const T* gamma, T* cap);
  // Row g becomes w_g cap (+ cap), w the probability of `sharing`.
  void (*share)(const HeadRows<T>&, const Sharing<T>& sharing);
  // The way back: dcap (n, written) from the gradients of the shares, rows of dout; the gradients of sums and bias are
  // added to totals (2, heads). scratch: 3 heads lanes.
  void (*share_back)(const HeadRows<const T>& dout, const Sharing<T>& sharing, T* dcap,
                     double* totals, T* scratch);
  // out[h] = row h . x
  void (*dots)(const HeadRows<T>&, const T* x, double* out);
  // Row h becomes gamma[h] dcap + sum_k mix[h, k] row k. scratch: heads lanes.
  void (*mix)(const HeadRows<T>&, const T* gamma, const T* dcap, const T* mix, T* scratch);
};

struct Kernels {
  RowKernels<float> f32;
  RowKernels<double> f64;
};

// Of the level that attn_engine::cpu_level() names.
const Kernels& kernels(const char* level);

}  // namespace capsule
