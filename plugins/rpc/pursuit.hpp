// SPDX-License-Identifier: Apache-2.0
//
// Scores cleaned by principal-component pursuit: each matrix of z (B, H, n, n) is split into a low-rank and a sparse
// part, whose sum is the result. Entries that a mask excludes stay out of it and keep their raw scores; tokens that
// no query may use are left out whole, so that padding changes nothing (masks.hpp, shrinkage.hpp).
//
// Any strides; float32 and float64, computed in double. One matrix at a time on a thread, which needs some matrices of
// its size. The gradient needs two more for each sweep: those of all matrices are kept by the forward pass while they
// take no more than kMostKept bytes; beyond it the gradient runs the sweeps of one matrix after the other again.
#pragma once

#include <attn/sdk/plugin.hpp>

namespace rpc {

using namespace attn::sdk;

inline constexpr int64_t kMostKept = int64_t{256} << 20;

struct pursuit {
  static constexpr const char* name = "rpc.pursuit";
  static constexpr const char* doc =
      "low-rank plus sparse part of scores (batch, head, n, n), within a keep mask";
  static constexpr uint32_t version = 1, inputs = 2, outputs = 1, saved = 1, required = 0b01,
                            constants = 0b10;
  static constexpr attn_param attributes[] = {ints_attribute("axes"), real_attribute("lambda", 0.1),
                                              real_attribute("tau", 1.0),
                                              int_attribute("sweeps", 10)};

  static void shape(OpCall c);
  template <class T>
  static void forward(OpCall c);
  template <class T>
  static void vjp(OpCall c);
  static attn_cost cost(OpCall c);
};

extern template void pursuit::forward<float>(OpCall);
extern template void pursuit::forward<double>(OpCall);
extern template void pursuit::vjp<float>(OpCall);
extern template void pursuit::vjp<double>(OpCall);

}  // namespace rpc
