// SPDX-License-Identifier: Apache-2.0
#include "tests/tools/layers.hpp"

using namespace attn;
using namespace attn::test;

namespace {

Json with(std::initializer_list<Json::Member> more) {
  Json parameters{{"dim", 24}, {"num_heads", 4}};
  for (const Json::Member& m : more) parameters.set(m.first, m.second);
  return parameters;
}
Layer small(std::initializer_list<Json::Member> more = {}, int64_t tokens = 13) {
  return make("linear", with(more), {{2, tokens, 24}});
}

Array scaled(Array a, float factor) {
  for (int64_t i = 0; i < a.size(); ++i) a.data<float>()[i] *= factor;
  return a;
}

}  // namespace

TEST_CASE("linear: the result scales with the input, to the last bit by powers of two") {
  for (const char* map : {"relu", "relu_squared", "abs"})
    for (const bool causal : {false, true}) {
      INFO(map << (causal ? ", causal" : ""));
      const Layer layer = small({{"feature_map", map}, {"causal", causal}, {"epsilon", 1e-3}});
      const Array x = random({2, 13, 24}, 1), y = layer->forward(x);
      CHECK(distance(layer->forward(scaled(x.clone(), 4)), scaled(y.clone(), 4)) == 0);
      CHECK(distance(layer->forward(scaled(x.clone(), 0.125F)), scaled(y.clone(), 0.125F)) == 0);
      CHECK(distance(layer->forward(scaled(x.clone(), 3)), scaled(y.clone(), 3)) < kSameMath);
    }
  const Layer elu = small({{"feature_map", "elu"}});
  const Array x = random({2, 13, 24}, 1);
  CHECK(distance(elu->forward(scaled(x.clone(), 4)), scaled(elu->forward(x), 4)) > 1000);
}

TEST_CASE("linear: many chunks of a causal call give what positions one by one give") {
  for (const int64_t tokens : {63, 64, 65, 200}) {
    INFO(tokens);
    const Layer layer = small({{"causal", true}}, tokens);
    const Array x = random({2, tokens, 24}, 2), whole = layer->forward(x);
    const auto state = layer->make_state(2);
    const std::vector<int64_t> ones(static_cast<size_t>(tokens), 1);
    CHECK(distance(in_chunks(*layer, *state, x, ones), whole) < kSameMath);
    CHECK(state->length() == tokens);
    state->reset();
    CHECK(distance(in_chunks(*layer, *state, x, {1, tokens - 2, 1}), whole) < kSameMath);
  }
}

TEST_CASE("linear: with a state a mask spans all positions so far") {
  const Layer layer = small({{"causal", true}, {"epsilon", 0.01}});
  const Array x = random({2, 13, 24}, 3);
  Array padding = filled({2, 13}, 1);
  for (int64_t k = 0; k < 4; ++k) padding.at<float>({1, k}) = 0;
  const Array whole = layer->forward({x, padding});
  const auto state = layer->make_state(2);
  CHECK(distance(in_chunks(*layer, *state, x, {5, 1, 7}, &padding), whole) < kSameMath);
  CHECK_THAT(refusal([&] {
               return layer->forward({cut(x, 1, 0, 2), filled({2, 2}, 1)}, {.state = state.get()});
             }),
             says("attention_mask of shape (2, 2) must be (2, 15)"));
  state->reorder({1, 1, 1});
  CHECK(state->batch() == 3);
  CHECK_FALSE(refusal([&] { return state->truncate(3), 0; }).empty());
}

TEST_CASE("linear: a state has one size however long the past is") {
  const Layer layer = small({{"causal", true}});
  const auto state = layer->make_state(2);
  static_cast<void>(layer->forward(random({2, 1, 24}, 4), {.state = state.get()}));
  const size_t bytes = state->bytes();
  static_cast<void>(layer->forward(random({2, 100, 24}, 5), {.state = state.get()}));
  CHECK(state->bytes() == bytes);
}

TEST_CASE("linear: positions without a key, and queries without a feature, give zeros") {
  const Layer layer = small();
  const Array x = random({2, 13, 24}, 6);
  Array mask = filled({2, 13}, 1);
  for (int64_t k = 0; k < 13; ++k) mask.at<float>({0, k}) = 0;
  const Array y = layer->forward({x, mask});
  CHECK(distance(cut(y, 0, 1, 2), cut(layer->forward(x), 0, 1, 2)) < kSameMath);
  for (int64_t i = 0; i < 13 * 24; ++i) REQUIRE(y.data<float>()[i] == 0);
  const Array none = layer->forward(Array(ATTN_F32, {1, 5, 24}));
  for (int64_t i = 0; i < none.size(); ++i) REQUIRE(none.data<float>()[i] == 0);
}

TEST_CASE("linear: the map holds the weights that the result is made of") {
  for (const bool causal : {false, true}) {
    const Layer layer =
        make("linear", {{"dim", 8}, {"num_heads", 1}, {"causal", causal}, {"epsilon", 0.0}},
             {{1, 70, 8}});
    Array unit = filled({8, 8}, 0);
    for (int64_t i = 0; i < 8; ++i) unit.at<float>({i, i}) = 1;
    for (const char* name : {"value_proj/kernel", "output_proj/kernel"})
      layer->set_weight(name, unit);
    const Array x = random({1, 70, 8}, 7);
    Context ctx;
    ctx.observe({.names = {"map"}});
    const std::vector<Input> inputs{x};
    layer->forward(ctx, inputs);
    const auto seen = ctx.take_observed();
    REQUIRE(seen.size() == 1);
    const Array& map = seen[0].value;
    REQUIRE(map.shape() == Shape{1, 1, 70, 70});
    Array y(ATTN_F32, {1, 70, 8});
    for (int64_t i = 0; i < 70; ++i)
      for (int64_t j = 0; j < 70; ++j) {
        if (causal && j > i) REQUIRE(map.at<float>({0, 0, i, j}) == 0);
        for (int64_t e = 0; e < 8; ++e)
          y.at<float>({0, i, e}) += map.at<float>({0, 0, i, j}) * x.at<float>({0, j, e});
      }
    CHECK(distance(y, Array::copy_of(*ctx.output())) < kSameMath);
  }
}

TEST_CASE("linear: what a config and a call refuse") {
  const auto refused = [](const Json& config) {
    return refusal([&] {
      validate_attention_config("linear", config);
      return 0;
    });
  };
  CHECK(refused(with({{"dim", 25}})) ==
        "dim (25) must be divisible by num_heads (4) where head_dim is null");
  CHECK(refused(with({{"dim", 25}, {"head_dim", 6}})).empty());
  CHECK(refused(with({{"head_dim", 1}, {"normalization", "rms_norm"}})) ==
        "normalization 'rms_norm' needs heads of more than one component");
  CHECK(refused(with({{"epsilon", -1.0}})) == "Parameter 'epsilon' must not be negative");
  CHECK_THAT(refused(with({{"feature_map", "exp"}})), says("feature_map"));
  const Layer layer = small();
  CHECK_THAT(refusal([&] {
               return layer->forward({random({2, 13, 24}, 8), filled({2, 12}, 1)});
             }),
             says("attention_mask of shape (2, 12) must be (2, 13)"));
  CHECK_THAT(refusal([&] { return layer->make_state(2); }), says("state"));
}
