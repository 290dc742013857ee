// SPDX-License-Identifier: Apache-2.0
#include "tests/oracle/types/types.hpp"

namespace attn::oracle {

void spatial(Run& run) {
  const Tensor z = spatial_logits(run, "spatial_attention", run.need("inputs"),
                                  run.integer("kernel_size", 7), run.flag("use_bias", true));
  run.output("output", activation_of(run, "spatial_attention_gate_activation",
                                     "gate_activation_type", "sigmoid", "gate_activation_args", z));
}

}  // namespace attn::oracle
