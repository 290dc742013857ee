// SPDX-License-Identifier: Apache-2.0
#include "tests/tools/layers.hpp"

using namespace attn;
using namespace attn::test;

namespace {

Layer small(std::initializer_list<Json::Member> more = {}) {
  Json parameters{{"channels", 12}, {"ratio", 3}};
  for (const Json::Member& m : more) parameters.set(m.first, m.second);
  return make("channel", parameters, {{2, 3, 5, 12}});
}

}  // namespace

TEST_CASE("channel: the gates follow the formula") {
  const Layer layer = small({{"use_bias", true}});
  const char* const dense[] = {"channel_attention_dense_1/bias", "channel_attention_dense_2/bias"};
  layer->set_weight(dense[0], random({4}, 1));
  layer->set_weight(dense[1], random({12}, 2));
  const Array x = random({2, 3, 5, 12}, 3, 4);
  const Array k1 = weight(*layer, "channel_attention_dense_1/kernel"),
              b1 = weight(*layer, dense[0]);
  const Array k2 = weight(*layer, "channel_attention_dense_2/kernel"),
              b2 = weight(*layer, dense[1]);
  Array expected(ATTN_F32, {2, 1, 1, 12});
  for (int64_t b = 0; b < 2; ++b) {
    double mean[12] = {}, max[12];
    for (int64_t c = 0; c < 12; ++c) {
      max[c] = -1e30;
      for (int64_t p = 0; p < 15; ++p) {
        const double v = x.at<float>({b, p / 5, p % 5, c});
        mean[c] += v / 15;
        max[c] = std::max(max[c], v);
      }
    }
    double z[12] = {};
    for (const double* const d : {mean, max})
      for (int64_t m = 0; m < 4; ++m) {
        double h = b1.at<float>({m});
        for (int64_t c = 0; c < 12; ++c) h += d[c] * static_cast<double>(k1.at<float>({c, m}));
        for (int64_t c = 0; c < 12; ++c)
          z[c] += std::max(h, 0.0) * static_cast<double>(k2.at<float>({m, c}));
      }
    for (int64_t c = 0; c < 12; ++c)
      expected.at<float>({b, 0, 0, c}) = static_cast<float>(
          1 / (1 + std::exp(-z[c] - 2 * static_cast<double>(b2.at<float>({c})))));
  }
  REQUIRE(distance(layer->forward(x), expected) < kSameMath);
}

TEST_CASE("channel: pixels have no order, and a repeated map has the gates of one") {
  const Layer layer = small();
  const Array x = random({2, 3, 5, 12}, 4);
  const Array y = layer->forward(x);
  REQUIRE(distance(layer->forward(reordered(x, 2, {4, 1, 0, 3, 2})), y) < kSameMath);
  REQUIRE(distance(layer->forward(reordered(x, 1, {2, 0, 1, 0, 1, 2, 1, 2, 0})), y) < kSameMath);
}

TEST_CASE("channel: one activation with one weight serves both paths") {
  const Layer layer = small({{"intermediate_activation_type", "xsilu"}});
  int owned = 0;
  for (const WeightInfo& w : layer->weights()) owned += w.name.find("alpha") != std::string::npos;
  REQUIRE(owned == 1);
  const Array x = random({2, 3, 5, 12}, 5);
  const Array before = layer->forward(x);
  for (const WeightInfo& w : layer->weights())
    if (w.name.find("alpha") != std::string::npos) layer->set_weight(w.name, filled(w.shape, 0.9F));
  REQUIRE(distance(layer->forward(x), before) > 1000);
}

TEST_CASE("channel: the two kernels are drawn apart") {
  const Layer layer = make("channel", {{"channels", 6}, {"ratio", 1}}, {{1, 2, 2, 6}});
  REQUIRE(distance(weight(*layer, "channel_attention_dense_1/kernel"),
                   weight(*layer, "channel_attention_dense_2/kernel")) > 1000);
}

TEST_CASE("channel: a large map keeps the precision of the mean") {
  const Layer layer =
      make("channel", {{"channels", 1}, {"ratio", 1}, {"gate_activation_type", "linear"}},
           {{1, 1000, 700, 1}});
  layer->set_weight("channel_attention_dense_1/kernel", filled({1, 1}, 1));
  layer->set_weight("channel_attention_dense_2/kernel", filled({1, 1}, 1));
  // All pixels 1.1 but one of 2: the mean is known.
  Array x = filled({1, 1000, 700, 1}, 1.1F);
  x.at<float>({0, 500, 350, 0}) = 2;
  const double mean = (static_cast<double>(1.1F) * (700000 - 1) + 2) / 700000;
  REQUIRE(std::fabs(static_cast<double>(layer->forward(x).at<float>({0, 0, 0, 0})) - (mean + 2)) <
          1e-6);
}

TEST_CASE("channel: one NaN makes all gates of its image NaN") {
  const Layer layer = small({{"intermediate_activation_type", "linear"}});
  Array x = random({2, 3, 5, 12}, 6);
  const Array clean = layer->forward(x);
  x.at<float>({1, 2, 4, 7}) = std::numeric_limits<float>::quiet_NaN();
  const Array y = layer->forward(x);
  REQUIRE(distance(cut(y, 0, 0, 1), cut(clean, 0, 0, 1)) == 0);
  for (int64_t c = 0; c < 12; ++c) REQUIRE(std::isnan(y.at<float>({1, 0, 0, c})));
}

TEST_CASE("channel: what a call refuses") {
  const Layer layer = small();
  CHECK_THAT(refusal([&] {
               return layer->forward(random({3, 5, 12}, 1));
             }),
             says("4D (batch, height, width, channels), got shape (3, 5, 12)"));
  CHECK_THAT(refusal([&] {
               return layer->forward(random({2, 3, 5, 11}, 1));
             }),
             says("dimension (11) must match channels (12)"));
  CHECK_THAT(refusal([&] { return layer->forward(random({2, 0, 5, 12}, 1)); }), says("empty"));
}
