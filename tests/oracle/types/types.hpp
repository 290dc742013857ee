// SPDX-License-Identifier: Apache-2.0
//
// The types of the oracle: one function and one file each. It reads the problem of the run and
// gives its outputs.
#pragma once

#include "tests/oracle/parts.hpp"

namespace attn::oracle {

void anchor(Run& run);
void capsule_routing(Run& run);
void cbam(Run& run);
void channel(Run& run);
void decoder(Run& run);
void differential(Run& run);
void energy(Run& run);
void fnet(Run& run);
void forgetting(Run& run);
void gated(Run& run);
void group_query(Run& run);
void hopfield(Run& run);
void joint(Run& run);
void linear(Run& run);
void mobile_mqa(Run& run);
void multi_head(Run& run);
void multi_head_cross(Run& run);
void multi_head_latent(Run& run);
void neighborhood(Run& run);
void non_local(Run& run);
void perceiver(Run& run);
void performer(Run& run);
void ring(Run& run);
void rpc(Run& run);
void shared_weights_cross(Run& run);
void spatial(Run& run);
void talking_heads(Run& run);
void vit(Run& run);
void window(Run& run);

// The engine that three of them share: fused projections or separate ones, weights below `prefix`.
void cross_attention(Run& run, const std::string& prefix, const Tensor& x, const Tensor* other,
                     bool shared, bool biased);

// The rows of performer's projection (H, m, d) drawn from a seed.
[[nodiscard]] Tensor performer_projection(uint64_t seed, int64_t heads, int64_t features, int64_t d,
                                          double ortho_scaling, bool trig);

}  // namespace attn::oracle
