// SPDX-License-Identifier: Apache-2.0
#include "tests/tools/layers.hpp"

using namespace attn;
using namespace attn::test;

namespace {

Layer small(Json parameters = {{"dim", 24}, {"num_heads", 4}}) {
  return make("multi_head", parameters, {{2, 7, 24}});
}

Array keep(const Shape& shape, const std::vector<float>& values) {
  return Array::from(values, shape);
}

}  // namespace

TEST_CASE("multi_head: without a mask the order of the positions does not matter") {
  const Layer layer = small();
  const Array x = random({2, 7, 24}, 1);
  const std::vector<int64_t> order{3, 0, 6, 1, 5, 2, 4};
  REQUIRE(distance(layer->forward(reordered(x, 1, order)), reordered(layer->forward(x), 1, order)) <
          kSameMath);
}

TEST_CASE("multi_head: a single position gives its own value") {
  const Layer layer =
      make("multi_head", {{"dim", 24}, {"num_heads", 4}, {"use_bias", true}}, {{3, 1, 24}});
  layer->set_weight("cross_attention/qkv/bias", random({72}, 2));
  layer->set_weight("cross_attention/proj/bias", random({24}, 3));
  const Array x = random({3, 1, 24}, 4);
  const Array qkv = weight(*layer, "cross_attention/qkv/kernel");
  const Array bias = weight(*layer, "cross_attention/qkv/bias");
  const Array proj = weight(*layer, "cross_attention/proj/kernel");
  const Array out = weight(*layer, "cross_attention/proj/bias");
  Array expected(ATTN_F32, {3, 1, 24});
  for (int64_t b = 0; b < 3; ++b) {
    double value[24];
    for (int64_t j = 0; j < 24; ++j) {
      value[j] = bias.at<float>({48 + j});
      for (int64_t i = 0; i < 24; ++i)
        value[j] += static_cast<double>(x.at<float>({b, 0, i})) * qkv.at<float>({i, 48 + j});
    }
    for (int64_t j = 0; j < 24; ++j) {
      double y = out.at<float>({j});
      for (int64_t i = 0; i < 24; ++i) y += value[i] * proj.at<float>({i, j});
      expected.at<float>({b, 0, j}) = static_cast<float>(y);
    }
  }
  REQUIRE(distance(layer->forward(x), expected) < kSameMath);
}

TEST_CASE("multi_head: a masked key has no influence") {
  const Layer layer = small();
  Array x = random({2, 7, 24}, 5);
  Array mask = filled({2, 7}, 1);
  mask.at<float>({0, 2}) = mask.at<float>({1, 6}) = 0;
  const Array before = layer->forward({x, mask});
  for (int64_t j = 0; j < 24; ++j) x.at<float>({0, 2, j}) += 3;
  const Array after = layer->forward({x, mask});
  REQUIRE(distance(cut(after, 1, 0, 2), cut(before, 1, 0, 2)) == 0);
  REQUIRE(distance(cut(after, 1, 3, 7), cut(before, 1, 3, 7)) == 0);
  // The row of the masked query itself is computed all the same.
  REQUIRE(distance(cut(after, 1, 2, 3), cut(before, 1, 2, 3)) > 1000);
}

TEST_CASE("multi_head: what counts as kept") {
  const Layer layer = make("multi_head", {{"dim", 24}, {"num_heads", 4}}, {{1, 4, 24}});
  const Array x = random({1, 4, 24}, 6);
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const Array plain = layer->forward({x, keep({1, 4}, {1, 0, 1, 0})});
  REQUIRE(distance(layer->forward({x, keep({1, 4}, {0.5F, -1, 2, nan})}), plain) == 0);
  REQUIRE(distance(layer->forward({x, keep({4}, {1, 0, 1, 0})}), plain) == 0);
  const Array integers = Array::from(std::vector<int32_t>{7, 0, 1, -3}, {1, 1, 1, 4});
  REQUIRE(distance(layer->forward({x, integers}), plain) == 0);
  REQUIRE(distance(layer->forward(x), plain) > 1000);
  REQUIRE(distance(layer->forward({x, filled({1, 4, 4}, 1)}), layer->forward(x)) < kSameMath);
}

TEST_CASE("multi_head: a row that keeps nothing behaves as without a mask") {
  const Layer layer = small();
  const Array x = random({2, 7, 24}, 8);
  const Array free = layer->forward(x);
  Array mask = filled({2, 7, 7}, 1);
  for (int64_t k = 0; k < 7; ++k) mask.at<float>({1, 3, k}) = 0;
  REQUIRE(distance(layer->forward({x, mask}), free) < kSameMath);
  REQUIRE(distance(layer->forward({x, filled({1, 1, 1, 7}, 0)}), free) < kSameMath);
}

TEST_CASE("multi_head: a mask of rank 2 is key padding, also where queries equal the batch") {
  const Layer layer = make("multi_head", {{"dim", 24}, {"num_heads", 4}}, {{5, 5, 24}});
  const Array x = random({5, 5, 24}, 9);
  Array mask = filled({5, 5}, 0);
  for (int64_t b = 0; b < 5; ++b)
    for (int64_t k = 0; k <= b; ++k) mask.at<float>({b, k}) = 1;
  REQUIRE(distance(layer->forward({x, mask}), layer->forward({x, reshaped(mask, {5, 1, 5})})) == 0);
}

TEST_CASE("multi_head: a triangular mask hides the future") {
  const Layer layer = small();
  Array x = random({2, 7, 24}, 10);
  Array mask(ATTN_F32, {1, 7, 7});
  for (int64_t q = 0; q < 7; ++q)
    for (int64_t k = 0; k <= q; ++k) mask.at<float>({0, q, k}) = 1;
  const Array before = layer->forward({x, mask});
  for (int64_t j = 0; j < 24; ++j) x.at<float>({1, 6, j}) = 100;
  REQUIRE(distance(cut(layer->forward({x, mask}), 1, 0, 6), cut(before, 1, 0, 6)) == 0);
}

TEST_CASE("multi_head: dropout acts in training calls only") {
  const Json all{{"dim", 24}, {"num_heads", 4}, {"dropout_rate", 1.0}, {"use_bias", true}};
  const Layer layer = make("multi_head", all, {{2, 7, 24}});
  layer->set_weight("cross_attention/proj/bias", random({24}, 11));
  const Array x = random({2, 7, 24}, 12);
  const Array y = layer->forward(x, {.training = true, .seed = 1});
  const Array bias = weight(*layer, "cross_attention/proj/bias");
  for (int64_t s = 0; s < 7; ++s)
    REQUIRE(distance(reshaped(cut(cut(y, 0, 1, 2), 1, s, s + 1), {24}), bias) == 0);

  const Layer half = small({{"dim", 24}, {"num_heads", 4}, {"dropout_rate", 0.5}});
  const Array rest = half->forward(x);
  REQUIRE(distance(half->forward(x), rest) == 0);
  const Array one = half->forward(x, {.training = true, .seed = 3});
  REQUIRE(distance(half->forward(x, {.training = true, .seed = 3}), one) == 0);
  REQUIRE(distance(half->forward(x, {.training = true, .seed = 4}), one) > 1000);
  REQUIRE(distance(one, rest) > 1000);
}

TEST_CASE("multi_head: what a call refuses") {
  const Layer layer = small();
  const Array x = random({2, 7, 24}, 13);
  CHECK_THAT(refusal([&] { return layer->forward(random({7, 24}, 1)); }), says("3D"));
  CHECK_THAT(refusal([&] { return layer->forward(random({2, 7, 23}, 1)); }), says("24"));
  CHECK_THAT(refusal([&] {
               return layer->forward(Array(ATTN_F32, {2, 0, 24}));
             }),
             says("(2, 0, 24)"));
  CHECK_THAT(refusal([&] { return layer->forward({x, filled({2, 8}, 1)}); }), says("(2, 8)"));
  CHECK_THAT(refusal([&] { return layer->forward({x, filled({2, 7, 1}, 1)}); }), says("(2, 7, 1)"));
  CHECK_THAT(refusal([&] {
               return layer->forward({x, filled({1, 1, 1, 1, 7}, 1)});
             }),
             says("(1, 1, 1, 1, 7)"));
  // And still works.
  REQUIRE(distance(layer->forward(x), layer->forward(x)) == 0);
}

TEST_CASE("multi_head: parameters of its relatives are unknown to it") {
  for (const char* name :
       {"bias_initializer", "bias_regularizer", "shared_qk_projections", "use_adaptive_softmax"})
    CHECK_THAT(refusal([&] {
                 validate_attention_config("multi_head", {{"dim", 8}, {name, true}});
               }),
               says("unsupported parameter(s) ['" + std::string(name) + "']"));
}

TEST_CASE("multi_head: the causal rule is a triangular mask") {
  const Layer layer = small();
  Array x = random({2, 7, 24}, 14);
  Array triangle(ATTN_F32, {1, 7, 7});
  for (int64_t q = 0; q < 7; ++q)
    for (int64_t k = 0; k <= q; ++k) triangle.at<float>({0, q, k}) = 1;
  const Array before = causal(*layer, {x});
  REQUIRE(distance(before, layer->forward({x, triangle})) < kSameMath);
  // A row without keys sees what is visible to it, never the future.
  Array padding = filled({2, 7}, 1);
  for (int64_t k = 0; k < 4; ++k) padding.at<float>({0, k}) = 0;
  const Array padded = causal(*layer, {x, padding});
  for (int64_t j = 0; j < 24; ++j) x.at<float>({0, 5, j}) = 50;
  REQUIRE(distance(cut(causal(*layer, {x}), 1, 0, 5), cut(before, 1, 0, 5)) == 0);
  REQUIRE(distance(cut(causal(*layer, {x, padding}), 1, 0, 5), cut(padded, 1, 0, 5)) == 0);
}

TEST_CASE("multi_head: a sequence in chunks gives what one causal call gives") {
  for (const char* probability : {"softmax", "sparsemax", "threshmax", "adaptive"}) {
    INFO(probability);
    check_decoding(*small({{"dim", 24},
                           {"num_heads", 4},
                           {"probability_type", probability},
                           {"qk_norm_type", "layer_norm"}}),
                   random({2, 13, 24}, 1));
  }
}

TEST_CASE("multi_head: a state needs a capacity") {
  CHECK_THAT(refusal([] { return small()->make_state(2); }), says("capacity"));
  CHECK(small()->make_state(2, 13)->capacity() == 13);
}

TEST_CASE("multi_head: without the causal rule a cached call sees all keys so far") {
  const Layer layer = small();
  const auto state = layer->make_state(2, 13);
  const Array x = random({2, 13, 24}, 16);
  const Argument open("use_causal_mask", false);
  const CallOptions all{.arguments = {&open, 1}, .state = state.get()};
  static_cast<void>(layer->forward(cut(x, 1, 0, 9), all));
  REQUIRE(distance(layer->forward(cut(x, 1, 9, 13), all), cut(layer->forward(x), 1, 9, 13)) <
          kSameMath);
}

TEST_CASE("multi_head: what a causal or cached call refuses") {
  const Array x = random({2, 7, 24}, 17);
  const auto cached = [&](std::initializer_list<Json::Member> more) {
    Json parameters{{"dim", 24}, {"num_heads", 4}};
    for (const Json::Member& m : more) parameters.set(m.first, m.second);
    const Layer layer = small(parameters);
    const auto state = layer->make_state(2, 8);
    const std::string text = refusal([&] { return layer->forward(x, {.state = state.get()}); });
    CHECK(state->length() == (text.empty() ? 7 : 0));
    return text;
  };
  CHECK(cached({}).empty());
  CHECK(cached({{"qk_norm_type", "batch_norm"}}).empty());
  CHECK_THAT(cached({{"qk_norm_type", "global_response_norm"}}), says("global_response_norm"));
  CHECK_THAT(cached({{"probability_config", Json{{"axis", -2}}}}), says("axis"));
  const Layer columns =
      small({{"dim", 24}, {"num_heads", 4}, {"probability_config", Json{{"axis", -2}}}});
  CHECK_THAT(refusal([&] { return causal(*columns, {x}); }), says("axis"));
  const Layer layer = small();
  const auto state = layer->make_state(2, 8);
  CHECK_THAT(refusal([&] { return layer->forward(x, {.training = true, .state = state.get()}); }),
             says("training"));
  CHECK_FALSE(
      refusal([&] { return layer->forward(cut(x, 0, 0, 1), {.state = state.get()}); }).empty());
}
