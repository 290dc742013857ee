// SPDX-License-Identifier: Apache-2.0
//
// Routing between heads. For query i the votes are the score rows A[h,i,:] = q_hi K_h^T of all heads; their capsule is
// cap[i,:] = sum_h gamma_h A[h,i,:], gamma from the Gram matrix of the H rows. With an aggregation, head g is given
// P_g(cap sums_g + bias_g) cap, a probability over the heads at every (i, j); without one all heads are given cap.
//
// Inputs  q (B, H, Q, D), k (B, H, K, D), sums (H) and bias (H) of the aggregation, the slopes () of threshmax for
//         routing and aggregation. Any strides, float32 and float64.
// Outputs (B, H, Q, K), or (B, 1, Q, K) without sums: the caller bounds it by giving some rows of q at a time; and the
//         coefficients c of each round (B, rounds, H, Q), which have no gradient.
// Threads over rows; results independent of their number. Nothing but the output is kept for the gradient.
#pragma once

#include <attn/sdk/plugin.hpp>

namespace capsule {

using namespace attn::sdk;

struct head_capsules {
  static constexpr const char* name = "capsule_routing.head_capsules";
  static constexpr const char* doc =
      "what routing between heads adds to the scores of q (B, H, Q, D) and k (B, H, K, D)";
  static constexpr uint32_t version = 1, inputs = 6, outputs = 2, required = 0b11;
  static constexpr auto attributes =
      probability_attributes(int_attribute("iterations", 3), real_attribute("squash_epsilon", 1e-8),
                             bool_attribute("add_capsule", false));

  static void shape(OpCall c);
  template <class T>
  static void forward(OpCall c);
  template <class T>
  static void vjp(OpCall c);
  static attn_cost cost(OpCall c);
};

extern template void head_capsules::forward<float>(OpCall);
extern template void head_capsules::forward<double>(OpCall);
extern template void head_capsules::vjp<float>(OpCall);
extern template void head_capsules::vjp<double>(OpCall);

}  // namespace capsule
