// SPDX-License-Identifier: Apache-2.0
//
// The complex transform of one length: z[k] = sum over i < n of w_n^(i k) x[i], for many sequences side by side.
//
// Lengths whose prime factors are at most 13 take one self-sorting pass for each of 8, 4, 2, 3, 5, 7, 11, 13.
// Others are turned into a convolution of a length M >= 2 n - 1 with factors 2, 3, 5 (Bluestein 1970): with
// c_j = w_2n^(j j), z[k] = c_k sum over j of (x[j] c_j) conj(c_(k-j)). All tables are made in double.
//
// A plan lives in memory that its maker was given, and is not changed by transform(): threads share it.
#pragma once

#include <attn/sdk/operator.hpp>

#include "kernels/passes.hpp"

namespace attn::fnet {

template <class T>
struct Plan {
  static constexpr int kMaxPasses = 64;
  int64_t n = 1;       // elements
  int64_t length = 1;  // of the passes: n, or M
  int passes = 0;
  Pass<T> pass[kMaxPasses] = {};
  const T* chirp = nullptr;     // (n, 2): c_j; nullptr: no convolution
  const T* spectrum = nullptr;  // (M, 2): transform of conj(c), divided by M
};

// Planes of `length` stretches: two complex buffers.
template <class T>
struct Work {
  T *re[2], *im[2];
};

// Stretches of work that lengths up to n need at most: what is asked for does not shrink and grow with the factors
// of a length, so that a context that has seen a long sequence has room for every shorter one.
int64_t work_length(int64_t n);

// Tables come from the scratch memory of the call.
template <class T>
Plan<T> make_plan(int64_t n, const sdk::OpCall& c);

// From buffer 0 of `work`, stretches 0..n-1; returns the buffer that holds the result.
template <class T>
int transform(const Plan<T>& plan, const Loops<T>& loops, int64_t lanes, const Work<T>& work);

}  // namespace attn::fnet
