// SPDX-License-Identifier: Apache-2.0
#include "tests/tools/layers.hpp"

using namespace attn;
using namespace attn::test;

namespace {

Layer small(std::initializer_list<Json::Member> more = {}) {
  Json parameters{{"dim", 24}, {"num_heads", 4}};
  for (const Json::Member& m : more) parameters.set(m.first, m.second);
  return make("talking_heads", parameters, {{2, 13, 24}});
}

Array identity(int64_t n) {
  Array a = filled({n, n}, 0);
  for (int64_t i = 0; i < n; ++i) a.at<float>({i, i}) = 1;
  return a;
}

}  // namespace

TEST_CASE("talking_heads: heads that do not talk are those of multi_head") {
  const Layer layer = small({{"use_bias", true}});
  const Layer plain =
      make("multi_head", {{"dim", 24}, {"num_heads", 4}, {"use_bias", true}}, {{2, 13, 24}});
  for (const char* part : {"qkv/kernel", "qkv/bias", "proj/kernel", "proj/bias"}) {
    const Array w = random(layer->weight(part).shape, 1, 0.4F);
    layer->set_weight(part, w);
    plain->set_weight(std::string("cross_attention/") + part, w);
  }
  const Array x = random({2, 13, 24}, 2);
  CHECK(distance(layer->forward(x), plain->forward(x)) > 1000);
  for (const char* mix : {"scores_mix/kernel", "weights_mix/kernel"})
    layer->set_weight(mix, identity(4));
  CHECK(distance(layer->forward(x), plain->forward(x)) < kSameMath);
  CHECK(distance(causal(*layer, {x}), causal(*plain, {x})) < kSameMath);
  Array mask = filled({2, 13, 13}, 1);
  for (int64_t k = 0; k < 13; ++k) mask.at<float>({0, 3, k}) = 0;
  mask.at<float>({1, 2, 5}) = 0;
  CHECK(distance(layer->forward({x, mask}), plain->forward({x, mask})) < kSameMath);
  CHECK(distance(causal(*layer, {x, mask}), causal(*plain, {x, mask})) < kSameMath);
}

TEST_CASE("talking_heads: mixing weights is linear, mixing scores is not") {
  const Layer layer = small();
  const Array x = random({2, 13, 24}, 3), y = layer->forward(x);
  const Array mix = weight(*layer, "weights_mix/kernel");
  Array twice = mix.clone();
  for (int64_t i = 0; i < 16; ++i) twice.data<float>()[i] *= 2;
  layer->set_weight("weights_mix/kernel", twice);
  Array doubled = y.clone();
  for (int64_t i = 0; i < y.size(); ++i) doubled.data<float>()[i] *= 2;
  CHECK(distance(layer->forward(x), doubled) == 0);
  layer->set_weight("weights_mix/kernel", mix);
  layer->set_weight("scores_mix/kernel", filled({4, 4}, 0));  // all keys alike
  CHECK(distance(layer->forward(x), y) > 1000);
}

TEST_CASE("talking_heads: a sequence in chunks gives what one causal call gives") {
  for (const char* probability : {"softmax", "sparsemax", "threshmax", "adaptive"}) {
    INFO(probability);
    check_decoding(*small({{"probability_type", probability}, {"qk_norm_type", "rms_norm"}}),
                   random({2, 13, 24}, 4));
  }
}

TEST_CASE("talking_heads: the weights are those behind the second mixing") {
  const Layer layer = small();
  layer->set_weight("weights_mix/kernel", filled({4, 4}, 0.5F));
  const Array x = random({2, 13, 24}, 5);
  const Argument asked("return_attention_weights", true);
  const std::vector<Input> inputs{x};
  const auto outputs = layer->forward_all(inputs, {.arguments = {&asked, 1}});
  REQUIRE(outputs.size() == 2);
  const Array& u = outputs[1].value;
  REQUIRE(u.shape() == Shape{2, 4, 13, 13});
  for (int64_t q = 0; q < 13; ++q) {
    double sum = 0;
    for (int64_t k = 0; k < 13; ++k) sum += u.at<float>({1, 2, q, k});
    CHECK(sum == Approx(2).margin(13 * 1.2e-7));  // four heads, half of each
    for (int64_t k = 0; k < 13; ++k) CHECK(u.at<float>({1, 0, q, k}) == u.at<float>({1, 3, q, k}));
  }
  CHECK(layer->forward_all(inputs).size() == 1);
}

TEST_CASE("talking_heads: what a call refuses") {
  const Layer layer = small();
  const Array x = random({2, 13, 24}, 6);
  CHECK_THAT(refusal([&] { return layer->forward(random({2, 13, 20}, 1)); }), says("24"));
  CHECK_THAT(refusal([&] { return layer->forward({x, filled({2, 12}, 1)}); }), says("(2, 12)"));
  const Layer columns = small({{"probability_config", Json{{"axis", -2}}}});
  CHECK(refusal([&] { return columns->forward(x); }).empty());
  CHECK_THAT(refusal([&] { return causal(*columns, {x}); }), says("axis"));
}
