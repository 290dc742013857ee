// SPDX-License-Identifier: Apache-2.0
#include "tests/tools/layers.hpp"

using namespace attn;
using namespace attn::test;

namespace {

Layer small(std::initializer_list<Json::Member> more = {}) {
  Json parameters{{"kernel_size", 3}};
  for (const Json::Member& m : more) parameters.set(m.first, m.second);
  return make("spatial", parameters, {{2, 8, 9, 5}});
}

}  // namespace

TEST_CASE("spatial: the gates follow the formula, zeros around the pooled maps") {
  const Layer layer = small();
  layer->set_weight("spatial_attention_conv/bias", filled({1}, 0.25F));
  const Array kernel = weight(*layer, "spatial_attention_conv/kernel");
  Array x = random({2, 8, 9, 5}, 1);
  for (int64_t i = 0; i < x.size(); ++i) x.data<float>()[i] -= 2;  // every true maximum is below 0
  Array expected(ATTN_F32, {2, 8, 9, 1});
  for (int64_t b = 0; b < 2; ++b)
    for (int64_t h = 0; h < 8; ++h)
      for (int64_t w = 0; w < 9; ++w) {
        double z = 0.25;
        for (int64_t i = -1; i <= 1; ++i)
          for (int64_t j = -1; j <= 1; ++j) {
            if (h + i < 0 || h + i >= 8 || w + j < 0 || w + j >= 9) continue;
            double mean = 0, max = -1e30;
            for (int64_t c = 0; c < 5; ++c) {
              const double v = x.at<float>({b, h + i, w + j, c});
              mean += v / 5;
              max = std::max(max, v);
            }
            z += mean * static_cast<double>(kernel.at<float>({i + 1, j + 1, 0, 0})) +
                 max * static_cast<double>(kernel.at<float>({i + 1, j + 1, 1, 0}));
          }
        expected.at<float>({b, h, w, 0}) = static_cast<float>(1 / (1 + std::exp(-z)));
      }
  REQUIRE(distance(layer->forward(x), expected) < kSameMath);
}

TEST_CASE("spatial: channels have no order and no fixed number") {
  const Layer layer = small();
  const Array x = random({2, 8, 9, 5}, 2);
  const Array y = layer->forward(x);
  REQUIRE(distance(layer->forward(reordered(x, 3, {4, 2, 0, 1, 3})), y) < kSameMath);
  REQUIRE(distance(layer->forward(reordered(x, 3, {0, 1, 2, 3, 4, 4, 3, 2, 1, 0})), y) < kSameMath);
}

TEST_CASE("spatial: a shifted map has shifted gates where the border is far") {
  const Layer layer = small();
  const Array x = random({2, 8, 9, 5}, 3), y = layer->forward(x);
  const Array moved = layer->forward(cut(x, 2, 2, 9));
  REQUIRE(distance(cut(moved, 2, 1, 7), cut(y, 2, 3, 9)) < kSameMath);
}

TEST_CASE("spatial: a mask of any shape and kind changes nothing") {
  const Layer layer = small();
  const Array x = random({2, 8, 9, 5}, 4), y = layer->forward(x);
  REQUIRE(distance(layer->forward({x, filled({2, 8, 9}, 0)}), y) == 0);
  REQUIRE(distance(layer->forward({x, filled({3}, -1)}), y) == 0);
  REQUIRE(distance(layer->forward({x, Array::from(std::vector<int32_t>(6, 0), {1, 2, 3, 1, 1})}),
                   y) == 0);
}

TEST_CASE("spatial: what a call refuses") {
  const Layer layer = small();
  CHECK_THAT(refusal([&] {
               return layer->forward(random({8, 9, 5}, 1));
             }),
             says("4D (batch, height, width, channels), got shape (8, 9, 5)"));
  CHECK_THAT(refusal([&] { return layer->forward(random({2, 8, 9, 0}, 1)); }), says("empty"));
}
