// SPDX-License-Identifier: Apache-2.0
#include "tests/oracle/types/types.hpp"

namespace attn::oracle {

void cbam(Run& run) {
  const Tensor& x = run.need("inputs");
  const Tensor g = map(channel_logits(run, "channel_attention/channel_attention", x,
                                      run.flag("channel_use_bias", false), nullptr, nullptr),
                       logistic);
  const Tensor y = multiply(x, reshape(g, {x.dim(0), 1, 1, x.dim(3)}));
  const Tensor s =
      map(spatial_logits(run, "spatial_attention/spatial_attention", y,
                         run.integer("kernel_size", 7), run.flag("spatial_use_bias", true)),
          logistic);
  run.output("output", multiply(y, s));
}

}  // namespace attn::oracle
