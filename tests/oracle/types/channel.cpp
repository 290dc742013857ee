// SPDX-License-Identifier: Apache-2.0
#include "tests/oracle/types/types.hpp"

namespace attn::oracle {

void channel(Run& run) {
  const Tensor& x = run.need("inputs");
  const Tensor z = channel_logits(run, "channel_attention", x, run.flag("use_bias", false),
                                  "intermediate_activation_type", "intermediate_activation_args");
  const Tensor gate = activation_of(run, "channel_attention_gate_activation",
                                    "gate_activation_type", "sigmoid", "gate_activation_args", z);
  run.output("output", reshape(gate, {x.dim(0), 1, 1, x.dim(3)}));
}

}  // namespace attn::oracle
