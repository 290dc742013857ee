// SPDX-License-Identifier: Apache-2.0
#include "tests/tools/layers.hpp"

using namespace attn;
using namespace attn::test;

namespace {

Layer small(std::initializer_list<Json::Member> more = {}, Shape input = {2, 9, 24}) {
  Json parameters{{"dim", 24}, {"num_heads", 3}};
  for (const Json::Member& m : more) parameters.set(m.first, m.second);
  return make("rpc", parameters, {std::move(input)});
}

// The products and sweeps of a call, in double inside: few eps of the largest output.
constexpr double kSame = kSameMath;

// (output, attention_scores)
std::pair<Array, Array> with_scores(const Layer& layer, const std::vector<Input>& inputs) {
  const Argument ask("return_attention_scores", true);
  auto out = layer->forward_all(inputs, {.arguments = {&ask, 1}});
  REQUIRE(out.size() == 2);
  return {std::move(out[0].value), std::move(out[1].value)};
}

Array wide(const Array& a) {
  Array d(ATTN_F64, a.shape());
  for (int64_t i = 0; i < a.size(); ++i)
    d.data<double>()[i] = static_cast<double>(a.data<float>()[i]);
  return d;
}

}  // namespace

TEST_CASE("rpc: a mask that keeps everything changes nothing") {
  const Layer layer = small();
  const Array x = random({2, 9, 24}, 1, 2);
  const Array y = layer->forward(x);
  REQUIRE(distance(layer->forward({x, filled({2, 9}, 1)}), y) == 0);
  REQUIRE(distance(layer->forward({x, filled({9}, 1)}), y) == 0);
  REQUIRE(distance(layer->forward({x, filled({1, 3, 9, 9}, 1)}), y) == 0);
}

TEST_CASE("rpc: a mask of rank 2 equals its expansions") {
  const Layer layer = small();
  const Array x = random({2, 9, 24}, 2, 2);
  Array keys = filled({2, 9}, 1), rows = filled({2, 9, 9}, 1), heads = filled({2, 3, 9, 9}, 1);
  for (const int64_t j : {2, 7})
    for (int64_t i = 0; i < 9; ++i) {
      keys.at<float>({1, j}) = rows.at<float>({1, i, j}) = 0;
      for (int64_t h = 0; h < 3; ++h) heads.at<float>({1, h, i, j}) = 0;
    }
  const Array y = layer->forward({x, keys});
  REQUIRE(distance(layer->forward({x, rows}), y) == 0);
  REQUIRE(distance(layer->forward({x, heads}), y) == 0);
  REQUIRE(distance(layer->forward({x, Input("mask", keys)}), y) == 0);
  REQUIRE(distance(layer->forward(x), y) > 1000);
}

TEST_CASE("rpc: padding changes nothing") {
  const Layer layer = small();
  const Array x = random({2, 6, 24}, 3, 2);
  const Array y = layer->forward(x);
  std::vector<Array> parts;
  parts.push_back(x.clone());
  parts.push_back(random({2, 3, 24}, 4, 100));
  const Array padded = joined(parts, 1);
  Array keys = filled({2, 9}, 1), outer = filled({2, 9, 9}, 1);
  for (int64_t b = 0; b < 2; ++b)
    for (int64_t i = 0; i < 9; ++i)
      for (int64_t j = 0; j < 9; ++j)
        if (i > 5 || j > 5) {
          outer.at<float>({b, i, j}) = 0;
          if (j > 5) keys.at<float>({b, j}) = 0;
        }
  REQUIRE(distance(cut(layer->forward({padded, keys}), 1, 0, 6), y) < kSame);
  REQUIRE(distance(cut(layer->forward({padded, outer}), 1, 0, 6), y) < kSame);
  // Also between other tokens.
  const std::vector<int64_t> order{6, 0, 1, 7, 2, 3, 4, 8, 5};
  const Array mixed = layer->forward({reordered(padded, 1, order), reordered(keys, 1, order)});
  REQUIRE(distance(reordered(mixed, 1, {1, 2, 4, 5, 6, 8}), y) < kSame);
}

TEST_CASE("rpc: a row that keeps nothing acts as if it kept everything") {
  const Layer layer = small();
  const Array x = random({2, 9, 24}, 5, 2);
  Array mask = filled({2, 9, 9}, 1);
  for (int64_t j = 0; j < 9; ++j) mask.at<float>({0, 4, j}) = 0;
  REQUIRE(distance(layer->forward({x, mask}), layer->forward(x)) < kSame);
  // Nobody is present: as without a mask.
  REQUIRE(distance(layer->forward({x, filled({2, 9}, 0)}), layer->forward(x)) < kSame);
}

TEST_CASE("rpc: the weights are those that were used") {
  const Layer layer = small({{"qkv_bias", true}});
  const Array x = random({2, 9, 24}, 6, 2);
  Array mask = filled({2, 9}, 1);
  mask.at<float>({0, 3}) = 0;
  const auto [y, p] = with_scores(layer, {x, mask});
  REQUIRE(p.shape() == Shape{2, 3, 9, 9});
  for (int64_t h = 0; h < 3; ++h)
    for (int64_t i = 0; i < 9; ++i) {
      REQUIRE(p.at<float>({0, h, i, 3}) == 0);
      double sum = 0;
      for (int64_t j = 0; j < 9; ++j) sum += static_cast<double>(p.at<float>({0, h, i, j}));
      REQUIRE(sum == Approx(1).epsilon(9 * 1.2e-7));
    }
  REQUIRE(distance(layer->forward({x, mask}), y) == 0);
}

TEST_CASE("rpc: one token gives its own value") {
  const Layer layer = small({}, {2, 1, 24});
  const auto [y, p] = with_scores(layer, {random({2, 1, 24}, 7)});
  REQUIRE(y.shape() == Shape{2, 1, 24});
  for (int64_t i = 0; i < p.size(); ++i) REQUIRE(p.data<float>()[i] == 1);
}

TEST_CASE("rpc: the thresholds do what they say") {
  // One head and equal weights for queries and keys: A = c I on orthogonal tokens.
  const Layer layer = make("rpc",
                           {{"dim", 4},
                            {"num_heads", 1},
                            {"lambda_sparse", 0.25},
                            {"svd_threshold", 1.0},
                            {"max_pcp_iter", 1}},
                           {{1, 4, 4}});
  Array w(ATTN_F32, {4, 12}), x(ATTN_F32, {1, 4, 4});
  for (int64_t i = 0; i < 4; ++i) {
    w.at<float>({i, i}) = w.at<float>({i, 4 + i}) = 1;
    x.at<float>({0, i, i}) = 2;
  }
  layer->set_weight("qkv_projection/kernel", w);
  // A = (2 * 2 / sqrt(4)) I = 2 I, all singular values 2: L = I, S = (2 - 1 - 0.25) I, R = 1.75 I.
  const auto [y, p] = with_scores(layer, {x});
  const double e = std::exp(1.75);
  for (int64_t i = 0; i < 4; ++i)
    for (int64_t j = 0; j < 4; ++j)
      REQUIRE(static_cast<double>(p.at<float>({0, 0, i, j})) ==
              Approx((i == j ? e : 1) / (e + 3)).epsilon(1e-6));
}

TEST_CASE("rpc: gradients agree with differences, also with equal and zero singular values") {
  const bool equal_tokens = GENERATE(false, true);
  const bool masked = GENERATE(false, true);
  const auto layer = create_attention_layer(
      "rpc", {{"dim", 8}, {"num_heads", 2}, {"svd_threshold", 0.2}, {"max_pcp_iter", 6}});
  layer->build({Shape{1, 11, 8}, std::nullopt}, {.dtype = ATTN_F64, .seed = 3});
  Array base = random({1, 11, 8}, 5, 2);
  if (equal_tokens)  // rank 1: ten singular values are 0
    for (int64_t i = 1; i < 11; ++i)
      for (int64_t j = 0; j < 8; ++j) base.at<float>({0, i, j}) = base.at<float>({0, 0, j});
  const Array x = wide(base), v = wide(random({1, 11, 8}, 6)), dy = wide(random({1, 11, 8}, 7));
  Array mask = filled({1, 11, 11}, 1);
  for (int64_t i = 0; i < 11; ++i)
    for (int64_t j = 0; j < 11; ++j)
      if (masked && (j > i || j == 4)) mask.at<float>({0, i, j}) = 0;
  const auto inputs = [&](const Array& at) { return std::vector<Input>{at, mask}; };
  const auto objective = [&](double h) {
    Array moved = x.clone();
    for (int64_t i = 0; i < x.size(); ++i) moved.data<double>()[i] += h * v.data<double>()[i];
    const auto y = layer->forward_all(inputs(moved));
    double sum = 0;
    for (int64_t i = 0; i < dy.size(); ++i)
      sum += y[0].value.data<double>()[i] * dy.data<double>()[i];
    return sum;
  };
  Context ctx(ATTN_F64);
  const std::vector<Input> in = inputs(x);
  const Input cotangent(dy);
  layer->forward(ctx, in, {.record = true});
  Gradients gradients(*layer);
  layer->backward(ctx, {&cotangent, 1}, gradients);
  const Array dx = Array::copy_of(*ctx.input_gradient("inputs"));
  double expected = 0, magnitude = 0;
  for (int64_t i = 0; i < dx.size(); ++i) {
    expected += dx.data<double>()[i] * v.data<double>()[i];
    magnitude += std::fabs(dx.data<double>()[i] * v.data<double>()[i]);
  }
  // Differences: h^2 of the curvature, some eps / h of the value.
  const double h = 1e-5, difference = (objective(h) - objective(-h)) / (2 * h);
  INFO(difference << " " << expected);
  REQUIRE(std::fabs(difference - expected) < 1e-7 * magnitude + 1e-8);
}

TEST_CASE("rpc: gradients do not depend on what the forward pass could keep") {
  // 2.3 MB for each of 120 matrices: too much for all of them, not for those of one example.
  const Layer layer = make("rpc", {{"dim", 8}, {"num_heads", 2}}, {{60, 120, 8}});
  const auto gradient = [&](const Array& x) {
    Context ctx;
    const Input in(x), cotangent(x);
    layer->forward(ctx, {&in, 1}, {.record = true});
    Gradients gradients(*layer);
    layer->backward(ctx, {&cotangent, 1}, gradients);
    return Array::copy_of(*ctx.input_gradient("inputs"));
  };
  const Array x = random({60, 120, 8}, 12, 2);
  const Array all = gradient(x);
  REQUIRE(distance(cut(all, 0, 17, 18), gradient(cut(x, 0, 17, 18))) < kSame);
}

TEST_CASE("rpc: larger matrices, whose columns are no whole vectors") {
  // Sizes around those at which blocks end; the float result against the one in double.
  const int64_t n = GENERATE(7, 48, 50, 97);
  const Json parameters{{"dim", 16}, {"num_heads", 2}, {"svd_threshold", 0.5}};
  const Layer layer = make("rpc", parameters, {{1, n, 16}});
  const auto exact = create_attention_layer("rpc", parameters);
  exact->build({Shape{1, n, 16}, std::nullopt}, {.dtype = ATTN_F64, .seed = 7});
  for (const WeightInfo& w : layer->weights()) exact->set_weight(w.name, layer->weight(w.name));
  const Array x = random({1, n, 16}, 8, 2), y64 = exact->forward(wide(x));
  Array y(ATTN_F32, {1, n, 16});
  for (int64_t i = 0; i < y.size(); ++i)
    y.data<float>()[i] = static_cast<float>(y64.data<double>()[i]);
  REQUIRE(distance(layer->forward(x), y) < 4 * kSame);
}

TEST_CASE("rpc: dropout acts on the output of training calls") {
  const Layer layer = small({{"dropout_rate", 1.0}, {"qkv_bias", true}});
  layer->set_weight("output_projection/bias", filled({24}, 1));
  const Array x = random({2, 9, 24}, 9);
  REQUIRE(distance(layer->forward(x, {.training = true, .seed = 1}), filled({2, 9, 24}, 0)) == 0);
  REQUIRE(distance(layer->forward(x), layer->forward(x)) == 0);
}

TEST_CASE("rpc: numbers that are not finite end a call as they should") {
  const Layer layer = small();
  Array x = random({2, 9, 24}, 10);
  x.at<float>({0, 2, 3}) = std::numeric_limits<float>::quiet_NaN();
  const Array y = layer->forward(x);
  REQUIRE(std::isnan(y.at<float>({0, 0, 0})));
  REQUIRE_FALSE(std::isnan(y.at<float>({1, 0, 0})));
  Context ctx;
  const Input in(x);
  layer->forward(ctx, {&in, 1}, {.record = true});
  Gradients gradients(*layer);
  const Array dy = filled({2, 9, 24}, 1);
  const Input cotangent(dy);
  layer->backward(ctx, {&cotangent, 1}, gradients);
}

TEST_CASE("rpc: what a call refuses") {
  const Layer layer = small();
  const Array x = random({2, 9, 24}, 11);
  CHECK_THAT(refusal([&] { return layer->forward(random({9, 24}, 1)); }), says("3D"));
  CHECK_THAT(refusal([&] { return layer->forward(random({2, 9, 23}, 1)); }), says("24"));
  CHECK_THAT(refusal([&] { return layer->forward({x, filled({2, 8}, 1)}); }), says("(2, 8)"));
  CHECK_THAT(refusal([&] { return layer->forward({x, filled({2, 9, 1}, 1)}); }), says("(2, 9, 1)"));
  CHECK_THAT(refusal([&] {
               return layer->forward({x, filled({2, 9}, 1), Input("mask", filled({2, 9}, 1))});
             }),
             says("set more than once"));
  // Along the queries a mask of keys is constant.
  const Layer columns = small({{"probability_config", Json{{"axis", -2}}}});
  CHECK_THAT(refusal([&] { return columns->forward({x, filled({2, 9}, 1)}); }), says("(2, 9)"));
  REQUIRE(columns->forward({x, filled({2, 9, 9}, 1)}).shape() == Shape{2, 9, 24});
}
