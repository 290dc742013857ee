// SPDX-License-Identifier: Apache-2.0
//
// What a call with a state refuses.
#include <catch2/catch.hpp>

#include "tests/layers/layers.hpp"

namespace attn::testing {

TEST_CASE("states: what has a weight for each position takes the whole sequence in one call") {
  const Array x = wave({1, 4, 16});
  for (const Sample& sample : types_with_history()) {
    for (const char* norm : {"dynamic_tanh", "batch_norm", "layer_norm"}) {
      for (const int64_t axis : {-1, -2}) {
        CAPTURE(sample.type, norm, axis);
        Json config = sample.config;
        config.set("qk_norm_type", norm);
        config.set("qk_norm_kwargs", Json{{"axis", axis}});
        const auto layer = create_attention_layer(sample.type, config);
        CHECK(layer->forward(x).shape() == x.shape());
        const auto state = layer->make_state(1, 8);
        if (axis == -1)
          CHECK_NOTHROW(layer->forward(x, {.state = state.get()}));
        else
          CHECK_THROWS_AS(layer->forward(x, {.state = state.get()}), InvalidArgument);
        CHECK(state->length() == (axis == -1 ? 4 : 0));
      }
    }
  }
}

}  // namespace attn::testing
