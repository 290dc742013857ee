// SPDX-License-Identifier: Apache-2.0
#include "tests/tools/layers.hpp"

using namespace attn;
using namespace attn::test;

namespace {

Layer small(std::initializer_list<Json::Member> more = {}, int64_t width = 24) {
  Json parameters{{"dim", 24}, {"num_heads", 4}};
  for (const Json::Member& m : more) parameters.set(m.first, m.second);
  return make("joint", parameters, {{2, 9, 24}, {2, 5, width}});
}

std::vector<NamedOutput> both(Attention& layer, const std::vector<Input>& inputs) {
  const Argument asked("return_context", true);
  return layer.forward_all(inputs, {.arguments = {&asked, 1}});
}

}  // namespace

TEST_CASE("joint: two streams with the same weights are one sequence") {
  const Layer layer = small({{"qk_norm_type", nullptr}});
  const Layer plain =
      make("multi_head", {{"dim", 24}, {"num_heads", 4}, {"use_bias", true}}, {{2, 14, 24}});
  std::vector<Array> kernels, biases;
  for (const auto& [own, other] :
       {std::pair("to_q", "add_q_proj"), std::pair("to_k", "add_k_proj"),
        std::pair("to_v", "add_v_proj"), std::pair("to_out", "to_add_out")}) {
    const Array kernel = random({24, 24}, kernels.size() + 1, 0.4F),
                bias = random({24}, kernels.size() + 11);
    for (const char* name : {own, other}) {
      layer->set_weight(std::string(name) + "/kernel", kernel);
      layer->set_weight(std::string(name) + "/bias", bias);
    }
    kernels.push_back(kernel.clone());
    biases.push_back(bias.clone());
  }
  plain->set_weight("cross_attention/proj/kernel", kernels.back());
  plain->set_weight("cross_attention/proj/bias", biases.back());
  kernels.pop_back();
  biases.pop_back();
  plain->set_weight("cross_attention/qkv/kernel", joined(kernels, 1));
  plain->set_weight("cross_attention/qkv/bias", joined(biases, 0));
  const Array x = random({2, 9, 24}, 5), y = random({2, 5, 24}, 6);
  std::vector<Array> parts;
  parts.push_back(x.clone());
  parts.push_back(y.clone());
  const Array sequence = joined(parts, 1), whole = plain->forward(sequence);
  const auto found = both(*layer, {x, y});
  REQUIRE(found.size() == 2);
  CHECK(found[1].name == "context_output");
  CHECK(distance(found[0].value, cut(whole, 1, 0, 9)) < kSameMath);
  CHECK(distance(found[1].value, cut(whole, 1, 9, 14)) < kSameMath);
}

TEST_CASE("joint: what is not asked for is not computed, and changes nothing") {
  const Layer layer = small({}, 16);
  const Array x = random({2, 9, 24}, 7), y = random({2, 5, 16}, 8);
  const auto found = both(*layer, {x, y});
  CHECK(found[1].value.shape() == Shape{2, 5, 16});
  CHECK(distance(layer->forward({x, y}), found[0].value) < kSameMath);
  const Layer last = small({{"context_pre_only", true}}, 16);
  for (const WeightInfo& w : last->weights()) last->set_weight(w.name, layer->weight(w.name));
  CHECK(last->weights().size() + 5 == layer->weights().size());
  CHECK(distance(last->forward({x, y}), layer->forward({x, y})) == 0);
  CHECK_THAT(refusal([&] { return both(*last, {x, y}); }), says("context_pre_only"));
}

TEST_CASE("joint: padding of the context is read by neither stream") {
  const Layer layer = small();
  const Array x = random({2, 9, 24}, 9);
  Array y = random({2, 5, 24}, 10);
  Array mask = filled({2, 5}, 1);
  mask.at<float>({0, 3}) = mask.at<float>({0, 4}) = 0;
  for (int64_t k = 0; k < 5; ++k) mask.at<float>({1, k}) = 0;
  const auto before = both(*layer, {x, y, mask});
  for (int64_t k = 3; k < 5; ++k)
    for (int64_t j = 0; j < 24; ++j) y.at<float>({0, k, j}) = 9;
  const auto after = both(*layer, {x, y, mask});
  CHECK(distance(after[0].value, before[0].value) == 0);
  CHECK(distance(cut(after[1].value, 1, 0, 3), cut(before[1].value, 1, 0, 3)) == 0);
  // A context that is all padding leaves the image to itself: the context may be anything.
  const Array other = random({2, 5, 24}, 11);
  CHECK(distance(cut(layer->forward({x, other, mask}), 0, 1, 2), cut(before[0].value, 0, 1, 2)) ==
        0);
}

TEST_CASE("joint: what a call refuses") {
  const Layer layer = small({}, 16);
  const Array x = random({2, 9, 24}, 12), y = random({2, 5, 16}, 13);
  CHECK_THAT(refusal([&] { return layer->forward(x); }), says("context"));
  CHECK_THAT(refusal([&] {
               return layer->forward({x, x});
             }),
             says("context has last dimension 24, but the layer was built for 16"));
  CHECK_THAT(refusal([&] { return layer->forward({x, random({1, 5, 16}, 1)}); }), says("batch"));
  CHECK_THAT(refusal([&] {
               return layer->forward({x, y, filled({2, 9}, 1)});
             }),
             says("attention_mask of shape (2, 9) must be (2, 5)"));
}
