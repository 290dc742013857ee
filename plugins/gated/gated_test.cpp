// SPDX-License-Identifier: Apache-2.0
#include "tests/tools/layers.hpp"

using namespace attn;
using namespace attn::test;

namespace {

constexpr int64_t kDim = 24;

Json with(std::initializer_list<Json::Member> more) {
  Json parameters{{"dim", kDim}, {"num_heads", 4}, {"max_seq_len", 16}};
  for (const Json::Member& m : more) parameters.set(m.first, m.second);
  return parameters;
}
Layer small(std::initializer_list<Json::Member> more = {}) {
  return make("gated", with(more), {{2, 13, kDim}});
}

}  // namespace

TEST_CASE("gated: a sequence in chunks gives what one causal call gives") {
  for (const char* probability : {"softmax", "sparsemax", "threshmax", "adaptive"}) {
    INFO(probability);
    check_decoding(
        *small({{"probability_type", probability}, {"num_kv_heads", 2}, {"head_dim", 5}}),
        random({2, 13, kDim}, 1));
  }
}

TEST_CASE("gated: a state holds max_seq_len positions unless a call says otherwise") {
  CHECK(small()->make_state(2)->capacity() == 16);
  CHECK(small()->make_state(2, 13)->capacity() == 13);
}

TEST_CASE("gated: without the causal rule a cached call sees all keys so far") {
  const Layer layer = small();
  const auto state = layer->make_state(2);
  const Array x = random({2, 13, kDim}, 3);
  const Argument open("use_causal_mask", false);
  static_cast<void>(
      layer->forward(cut(x, 1, 0, 9), {.arguments = {&open, 1}, .state = state.get()}));
  const Array last =
      layer->forward(cut(x, 1, 9, 13), {.arguments = {&open, 1}, .state = state.get()});
  REQUIRE(distance(last, cut(layer->forward(x), 1, 9, 13)) < kSameMath);
}

TEST_CASE("gated: the causal rule is a triangular mask, and no future leaks") {
  const Layer layer = small();
  Array x = random({2, 13, kDim}, 4);
  Array triangle(ATTN_F32, {1, 13, 13});
  for (int64_t q = 0; q < 13; ++q)
    for (int64_t k = 0; k <= q; ++k) triangle.at<float>({0, q, k}) = 1;
  const Array before = causal(*layer, {x});
  REQUIRE(distance(before, layer->forward({x, triangle})) < kSameMath);
  for (int64_t j = 0; j < kDim; ++j) x.at<float>({0, 8, j}) = 50;
  const Array after = causal(*layer, {x});
  REQUIRE(distance(cut(after, 1, 0, 8), cut(before, 1, 0, 8)) == 0);
  REQUIRE(distance(after, before) > 1000);
}

TEST_CASE("gated: positions are those of tokens, and only their distances matter") {
  const Layer layer = small({{"rope_percentage", 1.0}, {"max_seq_len", 512}});
  const Array x = random({2, 13, kDim}, 5);
  const Array plain = layer->forward(x);
  std::vector<int64_t> order{1, 0, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
  REQUIRE(distance(layer->forward(reordered(x, 1, order)), reordered(plain, 1, order)) > 1000);
  const Argument moved("position_offset", 400);
  // An angle near 400 is rounded to a float's 400 eps / 2 before its sine is taken at worst.
  REQUIRE(distance(layer->forward(x, {.arguments = {&moved, 1}}), plain) < 1000);
  // A sixth of 6 components is none: no positions at all.
  const Layer without = small({{"rope_percentage", 1.0 / 6}});
  REQUIRE(distance(without->forward(reordered(x, 1, order)),
                   reordered(without->forward(x), 1, order)) < kSameMath);
}

TEST_CASE("gated: the base of the rotation, an extension") {
  const Layer plain = small({{"rope_percentage", 1.0}});
  CHECK(plain->config().find("rope_theta") == nullptr);
  const Array x = random({2, 13, kDim}, 5);
  const Layer same = small({{"rope_percentage", 1.0}, {"rope_theta", 10000.0}});
  CHECK(distance(same->forward(x), plain->forward(x)) == 0);
  const Layer other = small({{"rope_percentage", 1.0}, {"rope_theta", 100.0}});
  CHECK(other->config().at("rope_theta") == Json(100.0));
  CHECK(distance(other->forward(x), plain->forward(x)) > 1000);
  // The first pair turns by the position itself.
  const Layer pair = small({{"rope_percentage", 1.0}, {"head_dim", 2}}),
              base = small({{"rope_percentage", 1.0}, {"head_dim", 2}, {"rope_theta", 7.0}});
  CHECK(distance(pair->forward(x), base->forward(x)) == 0);
}

TEST_CASE("gated: a shared head is that head, repeated") {
  const Layer shared = small({{"num_kv_heads", 1}});
  const Layer full = small();
  for (const char* name :
       {"input_linear/kernel", "q_linear/kernel", "q_norm/scale", "output_gate_linear/kernel"})
    full->set_weight(name, shared->weight(name));
  for (const char* name : {"k_linear/kernel", "v_linear/kernel"}) {
    std::vector<Array> four;
    for (int i = 0; i < 4; ++i) four.push_back(weight(*shared, name));
    full->set_weight(name, joined(four, 1));
  }
  const Array x = random({2, 13, kDim}, 6);
  REQUIRE(distance(full->forward(x), shared->forward(x)) < kSameMath);
  REQUIRE(distance(causal(*full, {x}), causal(*shared, {x})) < kSameMath);
}

TEST_CASE("gated: the norm of queries and keys sees all heads together") {
  // One head made longer changes the share of the others, which a norm of each head would not.
  const Layer layer = small();
  const Array x = random({2, 13, kDim}, 7);
  const Array before = layer->forward(x);
  Array kernel = weight(*layer, "q_linear/kernel");
  for (int64_t i = 0; i < kDim; ++i)
    for (int64_t j = 0; j < 6; ++j) kernel.at<float>({i, j}) *= 10;
  layer->set_weight("q_linear/kernel", kernel);
  REQUIRE(distance(cut(layer->forward(x), 2, 6, 24), cut(before, 2, 6, 24)) > 1000);
  // All heads longer alike: nothing changes but the share of epsilon, 1e-6 beside about 1.
  for (int64_t i = 0; i < kDim; ++i)
    for (int64_t j = 6; j < kDim; ++j) kernel.at<float>({i, j}) *= 10;
  layer->set_weight("q_linear/kernel", kernel);
  REQUIRE(distance(layer->forward(x), before) < 1000);
}

TEST_CASE("gated: the gate multiplies the result by a function of itself") {
  const Array x = random({2, 13, kDim}, 8);
  const auto closed = [&](const char* activation) {
    const Layer layer = small({{"gate_activation_type", activation}, {"use_bias", true}});
    layer->set_weight("output_gate_linear/kernel", filled({kDim, kDim}, 0));
    layer->set_weight("output_gate_linear/bias", filled({kDim}, 2));
    return layer->forward(x);
  };
  Array twice = closed("relu6");
  for (int64_t i = 0; i < twice.size(); ++i) twice.data<float>()[i] /= 2;
  Array sigmoid = closed("sigmoid");
  const float at2 = 1 / (1 + std::exp(-2.0F));
  for (int64_t i = 0; i < sigmoid.size(); ++i) sigmoid.data<float>()[i] /= at2;
  REQUIRE(distance(sigmoid, twice) < kSameMath);
  // null is linear.
  const Layer none = small({{"gate_activation_type", nullptr}});
  const Layer linear = small({{"gate_activation_type", "linear"}});
  REQUIRE(distance(none->forward(x), linear->forward(x)) == 0);
}

TEST_CASE("gated: sizes left out are filled in") {
  const Layer layer = small();
  REQUIRE(layer->config().at("head_dim").to_int64() == 6);
  REQUIRE(layer->config().at("num_kv_heads").to_int64() == 4);
  Json written = layer->config();
  written.erase("name");
  const Layer again = make("gated", written, {{2, 13, kDim}});
  REQUIRE(again->config().at("head_dim") == layer->config().at("head_dim"));
  const Array x = random({2, 13, kDim}, 9);
  REQUIRE(distance(again->forward(x), layer->forward(x)) == 0);
  // A projection only where the heads do not add up to dim.
  const auto has_projection = [](const Layer& l) {
    const auto all = l->weights();
    return std::any_of(all.begin(), all.end(),
                       [](const WeightInfo& w) { return w.name == "output_proj/kernel"; });
  };
  REQUIRE_FALSE(has_projection(layer));
  REQUIRE(has_projection(small({{"head_dim", 5}})));
  // dim need not be divisible where the size is given.
  const Json odd{{"dim", 10}, {"num_heads", 3}, {"head_dim", 7}};
  REQUIRE(make("gated", odd, {{1, 4, 10}})->forward(random({1, 4, 10}, 1)).shape() ==
          Shape{1, 4, 10});
}

TEST_CASE("gated: dropout acts in training calls only") {
  const Layer layer = small({{"dropout_rate", 0.5}});
  const Array x = random({2, 13, kDim}, 10);
  const Array rest = layer->forward(x);
  REQUIRE(distance(layer->forward(x), rest) == 0);
  REQUIRE(distance(small()->forward(x), rest) == 0);
  const Array one = layer->forward(x, {.training = true, .seed = 3});
  REQUIRE(distance(layer->forward(x, {.training = true, .seed = 3}), one) == 0);
  REQUIRE(distance(one, rest) > 1000);
}

TEST_CASE("gated: what a call refuses") {
  const Layer layer = small();
  const Array x = random({2, 13, kDim}, 11);
  CHECK_THAT(refusal([&] { return layer->forward(random({13, kDim}, 1)); }), says("3D"));
  CHECK_THAT(refusal([&] { return layer->forward(random({2, 13, 20}, 1)); }), says("24"));
  CHECK_THAT(refusal([&] { return layer->forward({x, filled({2, 12}, 1)}); }), says("(2, 12)"));
  CHECK_THAT(refusal([&] {
               return layer->forward(random({1, 17, kDim}, 1));
             }),
             says("max_seq_len (16)"));
  const Argument far("position_offset", 4);
  CHECK_THAT(refusal([&] {
               return layer->forward(x, {.arguments = {&far, 1}});
             }),
             says("max_seq_len (16)"));
  const Argument endless_offset("position_offset", std::numeric_limits<int64_t>::max());
  CHECK_THAT(refusal([&] {
               return layer->forward(x, {.arguments = {&endless_offset, 1}});
             }),
             says("from 9223372036854775807 on do not fit"));
  // Nothing rotates, nothing ends.
  const Layer endless = small({{"rope_percentage", 0.1}});
  CHECK(refusal([&] { return endless->forward(random({1, 17, kDim}, 1)); }).empty());
  const Layer columns = small({{"probability_config", Json{{"axis", -2}}}});
  CHECK(refusal([&] { return columns->forward(x); }).empty());
  CHECK_THAT(refusal([&] { return causal(*columns, {x}); }), says("axis"));
}

TEST_CASE("gated: what a cached call refuses leaves the state as it was") {
  const Layer layer = small();
  const auto state = layer->make_state(2);
  const Array x = random({2, 13, kDim}, 12);
  const Array whole = causal(*layer, {x});
  in_chunks(*layer, *state, x, {9});
  const auto refused = [&](const Array& input, CallOptions options) {
    options.state = state.get();
    const std::string text = refusal([&] { return layer->forward(input, options); });
    CHECK(state->length() == 9);
    return text;
  };
  const Array next = cut(x, 1, 9, 13);
  const Argument elsewhere("position_offset", 8);
  CHECK_THAT(refused(next, {.training = true}), says("training"));
  CHECK_FALSE(refused(cut(next, 0, 0, 1), {}).empty());
  CHECK_FALSE(refused(random({2, 8, kDim}, 1), {}).empty());
  CHECK_THAT(refused(next, {.arguments = {&elsewhere, 1}}), says("position_offset (8)"));
  REQUIRE(distance(layer->forward(next, {.state = state.get()}), cut(whole, 1, 9, 13)) < kSameMath);
}

TEST_CASE("gated: what mixes positions cannot be cached") {
  const Array x = random({2, 4, kDim}, 13);
  const auto cached = [&](std::initializer_list<Json::Member> parameters) {
    const Layer layer = small(parameters);
    CHECK(refusal([&] { return layer->forward(x); }).empty());
    const auto state = layer->make_state(2);
    return refusal([&] { return layer->forward(x, {.state = state.get()}); });
  };
  for (const char* norm :
       {"global_response_norm", "adaptive_band_rms", "zero_centered_adaptive_band_rms_norm"})
    CHECK_THAT(cached({{"qk_norm_type", norm}}), says(norm));
  CHECK_THAT(cached({{"qk_norm_type", "rms_norm"},
                     {"qk_norm_kwargs", Json{{"axis", 1}, {"use_scale", false}}}}),
             says("rms_norm"));
  CHECK_THAT(
      cached({{"gate_activation_type", "squash"}, {"gate_activation_args", Json{{"axis", 1}}}}),
      says("squash"));
  CHECK_THAT(cached({{"probability_config", Json{{"axis", -2}}}}), says("axis"));
  CHECK(cached({{"gate_activation_type", "squash"}}).empty());
  CHECK(cached({{"qk_norm_type", "batch_norm"}}).empty());
  CHECK(cached({{"qk_norm_type", "dynamic_tanh"}}).empty());
}
