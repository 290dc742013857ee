// SPDX-License-Identifier: Apache-2.0
#include "tests/tools/layers.hpp"

using namespace attn;
using namespace attn::test;

namespace {

constexpr int64_t kTokens = 7, kDim = 10;

Layer lively(std::initializer_list<Json::Member> more = {}, attn_dtype dtype = ATTN_F32) {
  Json parameters{{"dim", kDim}, {"num_heads", 2}, {"head_dim", 4}};
  for (const Json::Member& m : more) parameters.set(m.first, m.second);
  Layer layer = create_attention_layer("energy", parameters);
  layer->build({Shape{3, kTokens, kDim}, std::nullopt}, {.dtype = dtype, .seed = 7});
  for (const char* name : {"w_key", "w_query"})
    layer->set_weight(name, random({4, 2, kDim}, name[2]).astype(dtype));
  return layer;
}

struct Results {
  Array output, energy;
};
Results results(Attention& layer, const std::vector<Input>& inputs) {
  const Argument asked("return_energy", true);
  auto all = layer.forward_all(inputs, {.arguments = {&asked, 1}});
  REQUIRE(all.size() == 2);
  return {std::move(all[0].value), std::move(all[1].value)};
}

}  // namespace

TEST_CASE("energy: the result is the negative gradient of the energy") {
  for (const bool self : {false, true})
    for (const bool masked : {false, true}) {
      INFO((self ? "with" : "without") << " itself" << (masked ? ", masked" : ""));
      const Layer layer = lively({{"attn_self", self}}, ATTN_F64);
      const Array x = random({3, kTokens, kDim}, 1).astype(ATTN_F64);
      Array mask = filled({3, kTokens}, 1);
      if (masked) mask.at<float>({0, 2}) = mask.at<float>({2, 6}) = 0;
      const auto all = [&](const Array& at) { return results(*layer, {at, mask}); };
      const Array y = all(x).output;
      // Differences in float64: h^2 of curvature and eps / h of rounding.
      constexpr double h = 1e-6;
      for (const int64_t i : {0L, 3L, 2 * kDim + 1, kTokens * kDim + 4, 3 * kTokens * kDim - 1}) {
        Array up = x.clone(), down = x.clone();
        up.data<double>()[i] += h;
        down.data<double>()[i] -= h;
        const int64_t row = i / (kTokens * kDim);
        const double slope =
            (all(up).energy.data<double>()[row] - all(down).energy.data<double>()[row]) / (2 * h);
        CHECK(-slope == Approx(y.data<double>()[i]).epsilon(1e-7).margin(1e-8));
      }
      // The engine's gradient of the energy is the same.
      Context ctx(ATTN_F64);
      const Argument asked("return_energy", true);
      const std::vector<Input> inputs{x, mask};
      layer->forward(ctx, inputs, {.record = true, .arguments = {&asked, 1}});
      Gradients g(*layer);
      const Array ones = filled({3}, 1).astype(ATTN_F64);
      const Input c("energy", ones.view());
      layer->backward(ctx, {&c, 1}, g);
      const Array slope = Array::copy_of(*ctx.input_gradient("inputs"));
      for (int64_t i = 0; i < y.size(); ++i)
        CHECK(-slope.data<double>()[i] == Approx(y.data<double>()[i]).margin(1e-12));
    }
}

TEST_CASE("energy: small steps lower it, every time") {
  const Layer layer = lively();
  Array g = random({3, kTokens, kDim}, 2);
  double before[3] = {HUGE_VAL, HUGE_VAL, HUGE_VAL};
  for (int step = 0; step < 20; ++step) {
    const Results r = results(*layer, {g});
    for (int64_t b = 0; b < 3; ++b) {
      CHECK(r.energy.data<float>()[b] < before[b]);
      before[b] = r.energy.data<float>()[b];
    }
    for (int64_t i = 0; i < g.size(); ++i) g.data<float>()[i] += 0.01F * r.output.data<float>()[i];
  }
}

TEST_CASE("energy: a token that the mask leaves out is neither key nor query") {
  for (const bool self : {false, true}) {
    const Layer layer = lively({{"attn_self", self}});
    Array x = random({3, kTokens, kDim}, 3);
    Array mask = filled({kTokens}, 1);
    mask.at<float>({2}) = 0;
    const Results before = results(*layer, {x, mask});
    for (int64_t b = 0; b < 3; ++b)
      for (int64_t j = 0; j < kDim; ++j) {
        CHECK(before.output.at<float>({b, 2, j}) == 0);
        x.at<float>({b, 2, j}) = 50;
      }
    const Results after = results(*layer, {x, mask});
    CHECK(distance(after.output, before.output) == 0);
    CHECK(distance(after.energy, before.energy) == 0);
    // As if it were not there.
    const std::vector<int64_t> others{0, 1, 3, 4, 5, 6};
    CHECK(distance(reordered(before.output, 1, others), layer->forward(reordered(x, 1, others))) <
          kSameMath);
  }
}

TEST_CASE("energy: a query without keys has no part in it") {
  const Layer layer = lively();
  const Results alone = results(*layer, {random({3, 1, kDim}, 4)});
  for (int64_t i = 0; i < alone.output.size(); ++i) CHECK(alone.output.data<float>()[i] == 0);
  for (int64_t b = 0; b < 3; ++b) CHECK(alone.energy.data<float>()[b] == 0);
  // One query looks at one key: both are pulled, and nobody else.
  Array pairs = filled({1, kTokens, kTokens}, 0);
  pairs.at<float>({0, 4, 1}) = 1;
  const Array y = layer->forward({random({3, kTokens, kDim}, 5), pairs});
  for (int64_t i = 0; i < kTokens; ++i)
    for (int64_t j = 0; j < kDim; ++j) CHECK((y.at<float>({1, i, j}) != 0) == (i == 1 || i == 4));
}

TEST_CASE("energy: what a config and a call refuse") {
  const auto refused = [](const Json& config) {
    return refusal([&] {
      validate_attention_config("energy", config);
      return 0;
    });
  };
  CHECK(refused({{"dim", 10}, {"num_heads", 4}}) ==
        "dim (10) must be divisible by num_heads (4) where head_dim is null");
  CHECK(refused({{"dim", 8}, {"beta", 0.0}}) == "Parameter 'beta' must be positive");
  const Layer layer = lively();
  CHECK_THAT(refusal([&] {
               return layer->forward({random({3, kTokens, kDim}, 6), filled({3, kTokens, 1}, 1)});
             }),
             says("attention_mask of shape (3, 7, 1)"));
}
