// SPDX-License-Identifier: Apache-2.0
//
// Initial weights: each follows the seed and its path, whatever else the layer has.
#include <catch2/catch.hpp>

#include "tests/layers/layers.hpp"

namespace attn::testing {

TEST_CASE("initial weights: an option that adds weights leaves the values of the others") {
  const Shape shape{2, 4, 16};
  const auto built = [&](Json config) {
    config.set("dim", 16);
    config.set("num_heads", 4);
    auto layer = create_attention_layer("multi_head", config);
    layer->build({shape}, {.seed = 5});
    return layer;
  };
  // Biases and the weights of norms lie between the two kernels; their own seeds count alike.
  for (const Json& init :
       {Json("glorot_uniform"), Json{{"class_name", "HeNormal"}, {"config", Json{{"seed", 3}}}}}) {
    const auto plain = built({{"kernel_initializer", init}});
    for (const Json& more : {Json{{"use_bias", true}}, Json{{"qk_norm_type", "layer_norm"}},
                             Json{{"probability_type", "threshmax"}}}) {
      Json config = more;
      config.set("kernel_initializer", init);
      const auto larger = built(config);
      CHECK(larger->weights().size() > plain->weights().size());
      for (const WeightInfo& w : plain->weights()) {
        CAPTURE(w.name);
        CHECK(same_bits(Array::copy_of(plain->weight(w.name)),
                        Array::copy_of(larger->weight(w.name))));
      }
    }
  }
}

}  // namespace attn::testing
