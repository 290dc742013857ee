// SPDX-License-Identifier: Apache-2.0
#include "tests/tools/layers.hpp"

using namespace attn;
using namespace attn::test;

namespace {

Layer small(std::initializer_list<Json::Member> more = {}) {
  Json parameters{{"channels", 8}, {"ratio", 2}, {"kernel_size", 5}};
  for (const Json::Member& m : more) parameters.set(m.first, m.second);
  return make("cbam", parameters, {{2, 6, 7, 8}});
}

// x times gates that broadcast over pixels or channels.
Array gated(const Array& x, const Array& gates) {
  Array y = Array::copy_of(x.view());
  const Shape& s = x.shape();
  for (int64_t b = 0; b < s[0]; ++b)
    for (int64_t h = 0; h < s[1]; ++h)
      for (int64_t w = 0; w < s[2]; ++w)
        for (int64_t c = 0; c < s[3]; ++c)
          y.at<float>({b, h, w, c}) *= gates.at<float>(
              {b, h % gates.shape()[1], w % gates.shape()[2], c % gates.shape()[3]});
  return y;
}

}  // namespace

TEST_CASE("cbam: is channel, and then spatial on what it left") {
  const bool biases = GENERATE(false, true);
  const Layer layer = small({{"channel_use_bias", biases}, {"spatial_use_bias", biases}});
  const Layer channel =
      make("channel", {{"channels", 8}, {"ratio", 2}, {"use_bias", biases}}, {{2, 6, 7, 8}}, 99);
  const Layer spatial =
      make("spatial", {{"kernel_size", 5}, {"use_bias", biases}}, {{2, 6, 7, 8}}, 98);
  for (const WeightInfo& w : layer->weights())
    if (w.name.find("bias") != std::string::npos) layer->set_weight(w.name, random(w.shape, 9));
  for (const WeightInfo& w : channel->weights())
    channel->set_weight(w.name, layer->weight("channel_attention/" + w.name));
  for (const WeightInfo& w : spatial->weights())
    spatial->set_weight(w.name, layer->weight("spatial_attention/" + w.name));
  REQUIRE(layer->weights().size() == channel->weights().size() + spatial->weights().size());
  const Array x = random({2, 6, 7, 8}, 1, 3);
  const Array y = gated(x, channel->forward(x));
  REQUIRE(distance(layer->forward(x), gated(y, spatial->forward(y))) < kSameMath);
  // The second stage looks at the gated map, not at x.
  REQUIRE(distance(layer->forward(x), gated(y, spatial->forward(x))) > 1000);
}

TEST_CASE("cbam: zeros stay zeros") {
  const Layer layer = small();
  Array x = random({2, 6, 7, 8}, 2);
  for (int64_t c = 0; c < 8; ++c) x.at<float>({1, 3, 4, c}) = 0;
  const Array y = layer->forward(x);
  for (int64_t c = 0; c < 8; ++c) REQUIRE(y.at<float>({1, 3, 4, c}) == 0);
}

TEST_CASE("cbam: images of a batch do not meet") {
  const Layer layer = small();
  const Array x = random({2, 6, 7, 8}, 3);
  REQUIRE(distance(layer->forward(cut(x, 0, 1, 2)), cut(layer->forward(x), 0, 1, 2)) < kSameMath);
}

TEST_CASE("cbam: what a call refuses") {
  const Layer layer = small();
  CHECK_THAT(refusal([&] {
               return layer->forward(random({6, 7, 8}, 1));
             }),
             says("4D (batch, height, width, channels), got shape (6, 7, 8)"));
  CHECK_THAT(refusal([&] {
               return layer->forward(random({2, 6, 7, 9}, 1));
             }),
             says("dimension (9) must match channels (8)"));
  CHECK_THAT(refusal([&] { return layer->forward(random({2, 6, 0, 8}, 1)); }), says("empty"));
}
