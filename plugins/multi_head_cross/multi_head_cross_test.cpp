// SPDX-License-Identifier: Apache-2.0
#include "tests/tools/layers.hpp"

using namespace attn;
using namespace attn::test;

namespace {

Layer small(Json parameters = {{"dim", 24}, {"num_heads", 4}}) {
  return make("multi_head_cross", parameters, {{2, 5, 24}, {2, 9, 24}});
}

}  // namespace

TEST_CASE("multi_head_cross: shared projections are the separate ones side by side") {
  const Layer separate = small();
  const Layer shared =
      make("multi_head_cross", {{"dim", 24}, {"num_heads", 4}, {"shared_qk_projections", true}},
           {{2, 5, 24}});
  separate->set_weight("q/bias", random({24}, 1));
  separate->set_weight("kv/bias", random({48}, 2));
  const auto side_by_side = [&](const std::string& what, size_t axis) {
    std::vector<Array> parts;
    parts.push_back(weight(*separate, "q/" + what));
    parts.push_back(weight(*separate, "kv/" + what));
    shared->set_weight("qkv/" + what, joined(parts, axis));
  };
  side_by_side("kernel", 1);
  side_by_side("bias", 0);
  shared->set_weight("proj/kernel", separate->weight("proj/kernel"));
  const Array x = random({2, 5, 24}, 3);
  REQUIRE(distance(shared->forward(x), separate->forward(x)) < kSameMath);
  CHECK_THAT(refusal([&] { return shared->forward({x, x}); }), says("shared_qk_projections"));
}

TEST_CASE("multi_head_cross: without kv_input the query sequence attends to itself") {
  const Layer layer = small();
  const Array x = random({2, 5, 24}, 4);
  REQUIRE(distance(layer->forward(x), layer->forward({x, x})) == 0);
}

TEST_CASE("multi_head_cross: the order of the keys does not matter") {
  const Layer layer = small();
  const Array x = random({2, 5, 24}, 5), y = random({2, 9, 24}, 6);
  Array mask = filled({2, 9}, 1);
  mask.at<float>({0, 1}) = mask.at<float>({1, 8}) = mask.at<float>({1, 0}) = 0;
  const std::vector<int64_t> order{8, 2, 5, 0, 1, 7, 3, 6, 4};
  REQUIRE(distance(layer->forward({x, reordered(y, 1, order), reordered(mask, 1, order)}),
                   layer->forward({x, y, mask})) < kSameMath);
}

TEST_CASE("multi_head_cross: use_adaptive_softmax is probability_type adaptive") {
  // The gate of entropy opens for long rows only: scores far apart, 40 keys.
  const Array x = random({2, 5, 24}, 7, 2), y = random({2, 40, 24}, 8, 2);
  const Layer by_switch = small({{"dim", 24}, {"num_heads", 4}, {"use_adaptive_softmax", true}});
  const Layer by_name = small({{"dim", 24}, {"num_heads", 4}, {"probability_type", "adaptive"}});
  REQUIRE(distance(by_switch->forward({x, y}), by_name->forward({x, y})) == 0);
  REQUIRE(distance(by_switch->forward({x, y}), small()->forward({x, y})) > 1000);
  REQUIRE(by_switch->config().at("use_adaptive_softmax").as_bool());
  REQUIRE(by_switch->config().at("probability_type").as_string() == "softmax");

  const auto both = [](const char* probability) {
    return refusal([&] {
      validate_attention_config(
          "multi_head_cross",
          {{"dim", 24}, {"use_adaptive_softmax", true}, {"probability_type", probability}});
      return 0;
    });
  };
  CHECK(both("sparsemax") ==
        "Parameter 'use_adaptive_softmax' conflicts with probability_type 'sparsemax'");
  CHECK(both("SoftMax").empty());
  CHECK(both("Adaptive_Softmax").empty());
  // Its options are those of adaptive.
  CHECK(refusal([&] {
          validate_attention_config("multi_head_cross",
                                    {{"dim", 24},
                                     {"use_adaptive_softmax", true},
                                     {"probability_config", Json{{"min_temp", 0.2}}}});
          return 0;
        }).empty());
}

TEST_CASE("multi_head_cross: the two forms of adaptive, and what the config keeps of them") {
  // Nearly equal scores of 6 keys: an entropy of 1.79, where the default does nothing and the paper's form sharpens.
  const Array x = random({2, 5, 24}, 7, 0.2F), y = random({2, 6, 24}, 8, 0.2F);
  const auto with = [](const Json& options) {
    return small({{"dim", 24},
                  {"num_heads", 4},
                  {"use_adaptive_softmax", true},
                  {"probability_config", options}});
  };
  const Json form{{"form", "paper"}};
  const Array plain = small()->forward({x, y});
  CHECK(distance(with(nullptr)->forward({x, y}), plain) < kSameMath);
  CHECK(distance(with(Json{{"form", "keras"}})->forward({x, y}), plain) < kSameMath);
  CHECK(distance(with(form)->forward({x, y}), plain) > 1000);
  CHECK(with(form)->config().at("probability_config") == form);
  CHECK(refusal([&] {
          return with(Json{{"form", "paper"}, {"max_temp", 2}});
        }) ==
        "Argument 'max_temp' of probability type 'adaptive' must be left out where form is "
        "'paper', which does not use it, got 2");
}

TEST_CASE("multi_head_cross: a score is scaled after the norm of queries and keys") {
  // The norm makes the length of the queries irrelevant.
  const Layer layer = small(
      {{"dim", 24}, {"num_heads", 4}, {"use_bias", false}, {"qk_norm_type", "max_logit_norm"}});
  const Array x = random({2, 5, 24}, 9), y = random({2, 9, 24}, 10);
  Array longer = x.clone();
  for (int64_t i = 0; i < longer.size(); ++i) longer.data<float>()[i] *= 8;
  // epsilon 1e-6 beside a sum of squares of about 1: a relative change of 1e-6 of the scores.
  REQUIRE(distance(layer->forward({longer, y}), layer->forward({x, y})) < 1000);
  REQUIRE(distance(small()->forward({longer, y}), small()->forward({x, y})) > 10000);
}

TEST_CASE(
    "multi_head_cross: a norm along the positions has weights of the length it was built for") {
  const Json parameters{{"dim", 12},
                        {"num_heads", 3},
                        {"qk_norm_type", "layer_norm"},
                        {"qk_norm_kwargs", Json{{"axis", -2}}}};
  const Layer layer = create_attention_layer("multi_head_cross", parameters);
  layer->build({Shape{2, 5, 12}, Shape{2, 7, 12}, std::nullopt}, {});
  CHECK(layer->weight("q_norm/gamma").shape == Shape{5});
  CHECK(layer->weight("k_norm/gamma").shape == Shape{7});
  const Array x = random({2, 5, 12}, 1), y = random({2, 7, 12}, 2);
  CHECK(layer->forward({x, y}).shape() == Shape{2, 5, 12});
  CHECK_FALSE(refusal([&] { return layer->forward({random({2, 6, 12}, 3), y}); }).empty());
  // A first call that is refused decides nothing.
  const Layer other = create_attention_layer("multi_head_cross", parameters);
  CHECK_FALSE(refusal([&] { return other->forward(random({5, 12}, 3)); }).empty());
  CHECK(other->forward(x).shape() == x.shape());
  // What is not known yet cannot have a weight.
  CHECK_THAT(refusal([&] {
               create_attention_layer("multi_head_cross", parameters)
                   ->build({Shape{2, -1, 12}, std::nullopt, std::nullopt}, {});
               return 0;
             }),
             says("the size of axis -2 must be known"));
}

TEST_CASE("multi_head_cross: what a call refuses") {
  const Layer layer = small();
  const Array x = random({2, 5, 24}, 11), y = random({2, 9, 24}, 12);
  CHECK_THAT(refusal([&] { return layer->forward(random({5, 24}, 1)); }), says("3D"));
  CHECK_THAT(refusal([&] { return layer->forward(random({2, 5, 20}, 1)); }), says("24"));
  CHECK_THAT(refusal([&] { return layer->forward({x, random({2, 9, 20}, 1)}); }), says("24"));
  CHECK_THAT(refusal([&] { return layer->forward({x, random({9, 24}, 1)}); }), says("3D"));
  CHECK_THAT(refusal([&] { return layer->forward({x, random({1, 9, 24}, 1)}); }), says("batch"));
  CHECK_THAT(refusal([&] {
               return layer->forward({x, Array(ATTN_F32, {2, 0, 24})});
             }),
             says("(2, 0, 24)"));
  CHECK_THAT(refusal([&] { return layer->forward({x, y, filled({2, 5}, 1)}); }), says("(2, 5)"));
}

TEST_CASE("multi_head_cross: a state keeps the projected kv_input") {
  const Layer layer = small({{"dim", 24}, {"num_heads", 4}, {"qk_norm_type", "rms_norm"}});
  const Array x = random({2, 5, 24}, 13), y = random({2, 9, 24}, 14);
  const Array whole = layer->forward({x, y});
  const auto state = layer->make_state(2);
  CHECK_THAT(refusal([&] { return layer->forward(x, {.state = state.get()}); }),
             says("kv_input is missing"));
  REQUIRE(distance(layer->forward({cut(x, 1, 0, 2), y}, {.state = state.get()}),
                   cut(whole, 1, 0, 2)) < kSameMath);
  REQUIRE(state->bytes() == 2 * 2 * 9 * 24 * sizeof(float));
  for (int64_t t = 2; t < 5; ++t)
    REQUIRE(distance(layer->forward(cut(x, 1, t, t + 1), {.state = state.get()}),
                     cut(whole, 1, t, t + 1)) < kSameMath);
  REQUIRE(state->length() == 0);
  CHECK_THAT(refusal([&] {
               return layer->forward({x, y}, {.state = state.get()});
             }),
             says("reset"));

  // Beam search: both rows go on from the second one.
  state->reorder({1, 1, 1});
  const Array three = reordered(cut(x, 0, 1, 2), 0, {0, 0, 0});
  REQUIRE(distance(layer->forward(three, {.state = state.get()}),
                   reordered(cut(whole, 0, 1, 2), 0, {0, 0, 0})) < kSameMath);
  CHECK_THAT(refusal([&] { return layer->forward(x, {.state = state.get()}); }), says("batch"));

  // Another kv_input, of another length, after a reset.
  state->reorder({0, 1});
  state->reset();
  const Array other = random({2, 6, 24}, 15);
  REQUIRE(distance(layer->forward({x, other}, {.state = state.get()}), layer->forward({x, other})) <
          kSameMath);
  REQUIRE(distance(layer->forward(x, {.state = state.get()}), layer->forward({x, other})) <
          kSameMath);
}

TEST_CASE("multi_head_cross: the mask of a call with a state spans what is kept") {
  const Layer layer = small();
  const Array x = random({2, 5, 24}, 16), y = random({2, 9, 24}, 17);
  Array mask = filled({2, 9}, 1);
  mask.at<float>({0, 1}) = mask.at<float>({1, 8}) = 0;
  const auto state = layer->make_state(2);
  const Array whole = layer->forward({x, y, mask});
  REQUIRE(distance(layer->forward({x, y, mask}, {.state = state.get()}), whole) < kSameMath);
  const std::vector<Input> later{{"query_input", x.view()}, {"attention_mask", mask.view()}};
  REQUIRE(distance(layer->forward_all(later, {.state = state.get()}).front().value, whole) <
          kSameMath);
  const Array short_mask = filled({2, 5}, 1);
  const std::vector<Input> wrong{{"query_input", x.view()}, {"attention_mask", short_mask.view()}};
  CHECK_THAT(refusal([&] { return layer->forward_all(wrong, {.state = state.get()}); }),
             says("(2, 5)"));
}

TEST_CASE("multi_head_cross: a call that fails keeps nothing") {
  const Layer layer = small();
  const Array x = random({2, 5, 24}, 18), y = random({2, 9, 24}, 19);
  const auto state = layer->make_state(2);
  CHECK_FALSE(refusal([&] {
                return layer->forward({x, y, filled({2, 8}, 1)}, {.state = state.get()});
              }).empty());
  CHECK_FALSE(refusal([&] {
                return layer->forward({cut(x, 0, 0, 1), cut(y, 0, 0, 1)}, {.state = state.get()});
              }).empty());
  CHECK(state->bytes() == 0);
  CHECK_THAT(refusal([&] {
               return layer->forward({x, y}, {.training = true, .state = state.get()});
             }),
             says("training"));
  // The shapes of a first call are asked for without keeping anything.
  const std::vector<Input> inputs{x, y};
  REQUIRE(layer->output_shapes(inputs, {.state = state.get()}).front().second == Shape{2, 5, 24});
  CHECK(state->bytes() == 0);
  REQUIRE(distance(layer->forward({x, y}, {.state = state.get()}), layer->forward({x, y})) <
          kSameMath);
  // Self-attention alone has nothing to keep.
  const Layer shared =
      make("multi_head_cross", {{"dim", 24}, {"num_heads", 4}, {"shared_qk_projections", true}},
           {{2, 5, 24}});
  REQUIRE_FALSE(shared->has_state());
  CHECK_FALSE(refusal([&] { return shared->make_state(2); }).empty());
}
