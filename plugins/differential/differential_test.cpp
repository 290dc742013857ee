// SPDX-License-Identifier: Apache-2.0
#include "tests/tools/layers.hpp"

using namespace attn;
using namespace attn::test;

namespace {

constexpr int64_t kDim = 24;

Json with(std::initializer_list<Json::Member> more) {
  Json parameters{{"dim", kDim}, {"num_heads", 4}, {"head_dim", 6}};
  for (const Json::Member& m : more) parameters.set(m.first, m.second);
  return parameters;
}
Layer small(std::initializer_list<Json::Member> more = {}) {
  return make("differential", with(more), {{2, 13, kDim}});
}

// The second map becomes the first.
void make_alike(Attention& layer) {
  layer.set_weight("q2/kernel", layer.weight("q1/kernel"));
  layer.set_weight("k2/kernel", layer.weight("k1/kernel"));
}

Array scaled(Array a, float factor) {
  for (int64_t i = 0; i < a.size(); ++i) a.data<float>()[i] *= factor;
  return a;
}

Array at_depth(Attention& layer, const Array& x, int64_t depth) {
  const Argument layer_idx("layer_idx", depth);
  return layer.forward(x, {.arguments = {&layer_idx, 1}});
}

double squares(const Array& a) {
  double sum = 0;
  for (int64_t i = 0; i < a.size(); ++i)
    sum += static_cast<double>(a.data<float>()[i]) * a.data<float>()[i];
  return sum;
}

}  // namespace

TEST_CASE("differential: what both maps see alike counts 1 - lambda times") {
  const Layer layer = small();
  make_alike(*layer);
  const Layer plain =
      make("multi_head", {{"dim", kDim}, {"num_heads", 4}, {"use_bias", true}}, {{2, 13, kDim}});
  std::vector<Array> parts;
  for (const char* name : {"q1/kernel", "k1/kernel", "v/kernel"})
    parts.push_back(weight(*layer, name));
  plain->set_weight("cross_attention/qkv/kernel", joined(parts, 1));
  plain->set_weight("cross_attention/proj/kernel", layer->weight("proj/kernel"));
  const Array x = random({2, 13, kDim}, 1);
  const Array all = plain->forward(x);
  // lambda_param is 0.8; the schedule gives 0.2 at depth 0 and 1, then 0.8 - 0.6 exp(-0.3 n).
  REQUIRE(distance(layer->forward(x), scaled(all.clone(), 1 - 0.16F)) < kSameMath);
  REQUIRE(distance(at_depth(*layer, x, 1), layer->forward(x)) == 0);
  REQUIRE(distance(at_depth(*layer, x, -7), layer->forward(x)) == 0);
  REQUIRE(distance(at_depth(*layer, x, std::numeric_limits<int64_t>::min()), layer->forward(x)) ==
          0);
  const auto at3 = static_cast<float>(0.8 * (0.8 - 0.6 * std::exp(-0.6)));
  REQUIRE(distance(at_depth(*layer, x, 3), scaled(all.clone(), 1 - at3)) < kSameMath);
  // Clipped: above at 0.9 (the error is that of a difference of nearly equal numbers), below at 0.1.
  layer->set_weight("lambda_param", filled({1}, 100));
  REQUIRE(distance(layer->forward(x), scaled(all.clone(), 0.1F)) < 10 * kSameMath);
  layer->set_weight("lambda_param", filled({1}, -1));
  REQUIRE(distance(layer->forward(x), scaled(all.clone(), 0.9F)) < kSameMath);
}

TEST_CASE("differential: lambda has a gradient inside its bounds only") {
  const Layer layer = small();
  const Array x = random({2, 13, kDim}, 2), cotangent = random({2, 13, kDim}, 3);
  const auto gradient = [&](float value) {
    layer->set_weight("lambda_param", filled({1}, value));
    Context ctx;
    const std::vector<Input> inputs{x};
    layer->forward(ctx, inputs, {.record = true});
    Gradients g(*layer);
    const Input c(cotangent);
    layer->backward(ctx, {&c, 1}, g);
    return g.weight("lambda_param")->data<float>()[0];
  };
  const auto loss = [&](float value) {
    layer->set_weight("lambda_param", filled({1}, value));
    const Array y = layer->forward(x);
    double sum = 0;
    for (int64_t i = 0; i < y.size(); ++i)
      sum += static_cast<double>(y.data<float>()[i]) * cotangent.data<float>()[i];
    return sum;
  };
  CHECK(gradient(0.49F) == 0);
  CHECK(gradient(4.51F) == 0);
  // The loss is linear in lambda: a difference has no error but rounding, eps of sums of about 10
  // over a step of 2.
  const double slope = (loss(3) - loss(1)) / 2;
  REQUIRE(std::fabs(slope) > 1e-3);
  for (const float inside : {0.51F, 2.0F, 4.49F})
    CHECK(gradient(inside) == Approx(slope).margin(64 * 1.2e-7 * 10));
}

TEST_CASE("differential: kernel_regularizer counts lambda_param") {
  const Layer layer =
      make("differential",
           {{"dim", 8},
            {"num_heads", 2},
            {"head_dim", 4},
            {"kernel_regularizer", Json{{"class_name", "L2"}, {"config", Json{{"l2", 0.1}}}}},
            {"activity_regularizer", Json{{"class_name", "L2"}, {"config", Json{{"l2", 0.5}}}}}},
           {{2, 5, 8}});
  const Array x = random({2, 5, 8}, 4);
  Context ctx;
  const std::vector<Input> inputs{x};
  layer->forward(ctx, inputs);
  const Array y = Array::copy_of(*ctx.output());
  bool lambda = false, activity = false;
  for (const Penalty& p : layer->losses(ctx)) {
    if (p.name == "lambda_param") {
      lambda = true;
      CHECK(p.value == Approx(0.064).epsilon(1e-6));
    }
    if (p.name == "activity") {
      activity = true;
      CHECK(p.value == Approx(0.5 * squares(y) / 2).epsilon(80 * 1.2e-7));
    }
  }
  CHECK(lambda);
  CHECK(activity);
}

TEST_CASE("differential: a sequence in chunks gives what one causal call gives") {
  for (const char* probability : {"softmax", "sparsemax", "threshmax", "adaptive"}) {
    INFO(probability);
    check_decoding(*small({{"probability_type", probability}, {"qk_norm_type", "rms_norm"}}),
                   random({2, 13, kDim}, 1));
  }
}

TEST_CASE("differential: a state needs a capacity") {
  CHECK_THAT(refusal([] { return small()->make_state(2); }), says("capacity"));
  CHECK(small()->make_state(2, 13)->capacity() == 13);
}

TEST_CASE("differential: without the causal rule a cached call sees all keys so far") {
  const Layer layer = small();
  const auto state = layer->make_state(2, 13);
  const Array x = random({2, 13, kDim}, 7);
  const Argument open("use_causal_mask", false);
  static_cast<void>(
      layer->forward(cut(x, 1, 0, 9), {.arguments = {&open, 1}, .state = state.get()}));
  const Array last =
      layer->forward(cut(x, 1, 9, 13), {.arguments = {&open, 1}, .state = state.get()});
  REQUIRE(distance(last, cut(layer->forward(x), 1, 9, 13)) < kSameMath);
}

TEST_CASE("differential: masks act on both maps") {
  const Layer layer = small();
  Array x = random({2, 13, kDim}, 8);
  const Array free = layer->forward(x);
  Array mask = filled({2, 13}, 1);
  mask.at<float>({0, 2}) = mask.at<float>({1, 12}) = 0;
  const Array before = layer->forward({x, mask});
  REQUIRE(distance(before, free) > 1000);
  for (int64_t j = 0; j < kDim; ++j) x.at<float>({0, 2, j}) += 3;
  const Array after = layer->forward({x, mask});
  REQUIRE(distance(cut(after, 1, 3, 13), cut(before, 1, 3, 13)) == 0);
  // A row without keys counts as unmasked, and a row of the mask is a query's.
  Array rows = filled({2, 13, 13}, 1);
  for (int64_t k = 0; k < 13; ++k) rows.at<float>({0, 4, k}) = 0;
  REQUIRE(distance(layer->forward({x, rows}), layer->forward(x)) < kSameMath);
  CHECK_THAT(refusal([&] {
               return layer->forward({x, filled({2, 13, 1}, 1)});
             }),
             says("(2, 13, 1)"));
}

TEST_CASE("differential: one position, and none") {
  const Layer layer = small();
  const Array one = random({3, 1, kDim}, 9);
  // Both maps are 1: (1 - lambda) v.
  const Layer other = small();
  other->set_weight("q1/kernel", random({kDim, kDim}, 10));
  REQUIRE(distance(other->forward(one), layer->forward(one)) == 0);
  REQUIRE(layer->forward(Array(ATTN_F32, {2, 0, kDim})).shape() == Shape{2, 0, kDim});
  const Layer penalised = small({{"activity_regularizer", "l2"}, {"qk_norm_type", "layer_norm"}});
  REQUIRE(penalised->forward(Array(ATTN_F32, {2, 0, kDim}), {.training = true}).shape() ==
          Shape{2, 0, kDim});
}

TEST_CASE("differential: num_heads * head_dim may differ from dim") {
  const Json odd{{"dim", 10}, {"num_heads", 3}, {"head_dim", 7}};
  const Layer layer = make("differential", odd, {{2, 5, 10}});
  REQUIRE(layer->weight("proj/kernel").shape == Shape{21, 10});
  REQUIRE(layer->forward(random({2, 5, 10}, 11)).shape() == Shape{2, 5, 10});
}

TEST_CASE("differential: dropout is drawn for each map by itself, and on the output") {
  const Array x = random({2, 13, kDim}, 12);
  const Layer layer = small({{"attention_dropout_rate", 0.5}});
  make_alike(*layer);
  layer->set_weight("lambda_param", filled({1}, 100));  // clipped to 0.9
  const Array rest = layer->forward(x);
  const Array one = layer->forward(x, {.training = true, .seed = 3});
  REQUIRE(distance(layer->forward(x, {.training = true, .seed = 3}), one) == 0);
  REQUIRE(distance(layer->forward(x, {.training = true, .seed = 4}), one) > 1000);
  // With the same draw in both, a tenth of one map would be left as it is without dropout. Two draws
  // leave a difference of the size of the maps themselves.
  REQUIRE(squares(one) > 9 * squares(rest));

  const Layer all = small({{"dropout_rate", 1.0}});
  REQUIRE(squares(all->forward(x, {.training = true})) == 0);
  REQUIRE(distance(all->forward(x), small()->forward(x)) == 0);
}

TEST_CASE("differential: what a call refuses") {
  const Layer layer = small();
  const Array x = random({2, 13, kDim}, 13);
  CHECK_THAT(refusal([&] {
               return layer->forward(random({13, kDim}, 1));
             }),
             says("expected 3D input (batch, seq, dim)"));
  CHECK_THAT(refusal([&] { return layer->forward(random({2, 13, 20}, 1)); }), says("24"));
  const Argument half("layer_idx", 0.5);
  CHECK_THAT(refusal([&] {
               return layer->forward(x, {.arguments = {&half, 1}});
             }),
             says("layer_idx"));
  const Layer columns = small({{"probability_config", Json{{"axis", -2}}}});
  CHECK(refusal([&] { return columns->forward(x); }).empty());
  CHECK_THAT(refusal([&] { return causal(*columns, {x}); }), says("axis"));
  const Layer mixing = small({{"qk_norm_type", "global_response_norm"}});
  const auto state = mixing->make_state(2, 13);
  CHECK_THAT(refusal([&] { return mixing->forward(x, {.state = state.get()}); }),
             says("global_response_norm"));
  CHECK(state->length() == 0);
  const auto other = layer->make_state(2, 13);
  CHECK_THAT(refusal([&] { return layer->forward(x, {.training = true, .state = other.get()}); }),
             says("training"));
}
