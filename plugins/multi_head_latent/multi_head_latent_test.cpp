// SPDX-License-Identifier: Apache-2.0
#include "tests/tools/layers.hpp"

using namespace attn;
using namespace attn::test;

namespace {

constexpr int64_t kDim = 24;

Layer small(std::initializer_list<Json::Member> more = {}) {
  Json parameters{{"dim", kDim},           {"num_heads", 3},        {"kv_latent_dim", 10},
                  {"qk_nope_head_dim", 6}, {"qk_rope_head_dim", 4}, {"v_head_dim", 5},
                  {"max_seq_len", 64}};
  for (const Json::Member& m : more) parameters.set(m.first, m.second);
  return make("multi_head_latent", parameters, {{2, 13, kDim}});
}

}  // namespace

TEST_CASE("multi_head_latent: steps give what one call gives, absorbed or expanded") {
  check_decoding(*small(), random({2, 13, kDim}, 1));
  check_decoding(*small({{"q_latent_dim", 8}, {"use_bias", true}}), random({2, 13, kDim}, 2));
  check_decoding(*small({{"rope_style", "half_split"}, {"latent_norm_type", nullptr}}),
                 random({2, 13, kDim}, 3));
  // Latents that are wide for their heads are never absorbed, narrow ones always.
  check_decoding(*small({{"kv_latent_dim", 40}}), random({2, 13, kDim}, 4));
  check_decoding(*small({{"kv_latent_dim", 2}}), random({2, 13, kDim}, 5));
}

TEST_CASE("multi_head_latent: a state keeps latents and rotated parts, and nothing else") {
  const Layer layer = small();
  const auto state = layer->make_state(2);
  in_chunks(*layer, *state, random({2, 13, kDim}, 6), {13});
  CHECK(state->bytes() == 2 * 64 * (10 + 4) * sizeof(float));
  state->truncate(5);
  CHECK(state->length() == 5);
}

TEST_CASE("multi_head_latent: the weights are given on request") {
  const Layer layer = small();
  const Array x = random({2, 13, kDim}, 7);
  const Argument asked("return_attention_weights", true);
  const std::vector<Input> inputs{x};
  const auto outputs = layer->forward_all(inputs, {.arguments = {&asked, 1}});
  REQUIRE(outputs.size() == 2);
  REQUIRE(outputs[1].value.shape() == Shape{2, 3, 13, 13});
  REQUIRE(distance(outputs[0].value, layer->forward(x)) < kSameMath);
}

TEST_CASE("multi_head_latent: what is refused") {
  CHECK_THAT(refusal([] { return small({{"qk_rope_head_dim", 3}}); }), says("must be even"));
  CHECK_THAT(refusal([] {
               return small()->forward(random({1, 65, kDim}, 1));
             }),
             says("max_seq_len (64)"));
}
