// SPDX-License-Identifier: Apache-2.0
#include "tests/tools/layers.hpp"

using namespace attn;
using namespace attn::test;

namespace {

Layer small(std::initializer_list<Json::Member> more = {}, int64_t tokens = 13) {
  Json parameters{{"dim", 24}, {"num_heads", 4}};
  for (const Json::Member& m : more) parameters.set(m.first, m.second);
  return make("forgetting", parameters, {{2, tokens, 24}});
}

// Every head's gate is a constant.
void keep(Attention& layer, float logit) {
  layer.set_weight("f_proj/kernel", filled({24, 4}, 0));
  layer.set_weight("f_proj/bias", filled({4}, logit));
}

}  // namespace

TEST_CASE(
    "forgetting: without forgetting it is causal multi_head, and forgetting all is one's own "
    "value") {
  const Layer layer = small();
  const Layer plain = make("multi_head", {{"dim", 24}, {"num_heads", 4}}, {{2, 13, 24}});
  std::vector<Array> kernels;
  for (const char* name : {"q_proj/kernel", "k_proj/kernel", "v_proj/kernel"})
    kernels.push_back(weight(*layer, name));
  plain->set_weight("cross_attention/qkv/kernel", joined(kernels, 1));
  plain->set_weight("cross_attention/proj/kernel", layer->weight("o_proj/kernel"));
  const Array x = random({2, 13, 24}, 1);
  keep(*layer, 100);
  CHECK(distance(layer->forward(x), causal(*plain, {x})) < kSameMath);
  keep(*layer, -200);
  Array own(ATTN_F32, {2, 13, 24});
  for (int64_t b = 0; b < 2; ++b)
    for (int64_t i = 0; i < 13; ++i) {
      const Array one = plain->forward(cut(cut(x, 0, b, b + 1), 1, i, i + 1));
      std::copy_n(one.data<float>(), 24, own.data<float>() + (b * 13 + i) * 24);
    }
  CHECK(distance(layer->forward(x), own) < kSameMath);
}

TEST_CASE("forgetting: a sequence in chunks gives what one call gives") {
  const Layer layer =
      small({{"num_kv_heads", 2}, {"qk_norm", "rms_norm"}, {"use_output_gate", true}});
  const Array x = random({2, 13, 24}, 2), whole = layer->forward(x);
  Array padding = filled({2, 13}, 1);
  padding.at<float>({0, 5}) = 0;
  for (int64_t k = 0; k < 4; ++k) padding.at<float>({1, k}) = 0;
  const Array padded = layer->forward({x, padding});
  const auto state = layer->make_state(2, 13);
  for (const std::vector<int64_t>& chunks : std::vector<std::vector<int64_t>>{
           {13}, {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}, {5, 1, 7}}) {
    state->reset();
    CHECK(distance(in_chunks(*layer, *state, x, chunks), whole) < kSameMath);
    state->reset();
    CHECK(distance(in_chunks(*layer, *state, x, chunks, &padding), padded) < kSameMath);
  }
  state->reset();
  in_chunks(*layer, *state, x, {9});
  state->truncate(6);
  CHECK(distance(in_chunks(*layer, *state, cut(x, 1, 6, 13), {3, 4}), cut(whole, 1, 6, 13)) <
        kSameMath);
}

TEST_CASE("forgetting: what the mask leaves out forgets nothing") {
  const Layer layer = small();
  const Array x = random({2, 13, 24}, 3);
  Array mask = filled({2, 13}, 1);
  for (int64_t b = 0; b < 2; ++b)
    for (const int64_t k : {0, 1, 6}) mask.at<float>({b, k}) = 0;
  const std::vector<int64_t> rest{2, 3, 4, 5, 7, 8, 9, 10, 11, 12};
  CHECK(distance(reordered(layer->forward({x, mask}), 1, rest),
                 layer->forward(reordered(x, 1, rest))) < kSameMath);
}

TEST_CASE("forgetting: far behind the beginning a step is as exact as at the beginning") {
  // 4,000 positions that forget about a nat each.
  const Layer layer = small({}, 4013);
  layer->set_weight("f_proj/kernel", filled({24, 4}, 0));
  layer->set_weight("f_proj/bias", filled({4}, -0.5F));
  const Array tail = random({2, 13, 24}, 4), all = random({2, 4000, 24}, 5);
  const auto state = layer->make_state(2, 4013);
  static_cast<void>(layer->forward(all, {.state = state.get()}));
  // What lies a hundred nats behind has no weight in float32.
  std::vector<Array> parts;
  parts.push_back(cut(all, 1, 3900, 4000));
  parts.push_back(tail.clone());
  const Array expected = cut(layer->forward(joined(parts, 1)), 1, 100, 113);
  for (int64_t i = 0; i < 13; ++i)
    CHECK(distance(layer->forward(cut(tail, 1, i, i + 1), {.state = state.get()}),
                   cut(expected, 1, i, i + 1)) < 512);
}

TEST_CASE("forgetting: what a config and a call refuse") {
  CHECK_THAT(refusal([] {
               return small({{"num_kv_heads", 3}});
             }),
             says("num_heads (4) must be divisible by num_kv_heads (3)"));
  CHECK_THAT(refusal([] { return small({{"qk_norm", "global_response_norm"}}); }), says("qk_norm"));
  CHECK_THAT(refusal([] {
               return small({{"probability_config", Json{{"axis", -2}}}});
             }),
             says("axis"));
  const Layer layer = small();
  CHECK_THAT(refusal([&] {
               return layer->forward({random({2, 13, 24}, 6), filled({2, 12}, 1)});
             }),
             says("attention_mask of shape (2, 12) must be (2, 13)"));
  CHECK_THAT(refusal([&] { return layer->make_state(2); }), says("capacity"));
}
