// SPDX-License-Identifier: Apache-2.0
#include "tests/tools/layers.hpp"

using namespace attn;
using namespace attn::test;

namespace {

// 12 pixels in 3 rows; with downsampling 4 keys in 2 rows.
Layer small(std::initializer_list<Json::Member> more = {}) {
  Json parameters{{"dim", 24}, {"num_heads", 4}};
  for (const Json::Member& m : more) parameters.set(m.first, m.second);
  return make("mobile_mqa", parameters, {{2, 3, 4, 24}});
}

Array image(uint64_t seed) { return random({2, 3, 4, 24}, seed); }

}  // namespace

TEST_CASE("mobile_mqa: is x + lambda times group_query with one key/value head and no positions") {
  const Layer layer = small();
  const Layer other = make("group_query",
                           {{"dim", 24},
                            {"num_heads", 4},
                            {"num_kv_heads", 1},
                            {"rope_percentage", 0.0},
                            {"use_bias", true}},
                           {{2, 12, 24}}, 99);
  for (const WeightInfo& w : other->weights()) {
    if (w.name.find("bias") != std::string::npos) layer->set_weight(w.name, random(w.shape, 8));
    other->set_weight(w.name, layer->weight(w.name));
  }
  const float lambda = GENERATE(0.0F, 1.0F, -0.5F);
  layer->set_weight("lambda", filled({}, lambda));
  const Array x = image(1);
  const Array o = reshaped(other->forward(reshaped(x, {2, 12, 24})), x.shape());
  Array expected(ATTN_F32, x.shape());
  for (int64_t i = 0; i < x.size(); ++i)
    expected.data<float>()[i] = x.data<float>()[i] + lambda * o.data<float>()[i];
  REQUIRE(distance(layer->forward(x), expected) < kSameMath);
}

TEST_CASE("mobile_mqa: without downsampling pixels have no order") {
  const Layer layer = small();
  const Array x = image(2);
  const std::vector<int64_t> order{3, 0, 2, 1};
  REQUIRE(distance(layer->forward(reordered(x, 2, order)), reordered(layer->forward(x), 2, order)) <
          kSameMath);
}

TEST_CASE("mobile_mqa: a mask is over the grid of the keys") {
  const Layer layer = small({{"use_downsampling", true}});
  const Array x = image(3);
  const Array plain = layer->forward(x);
  REQUIRE(distance(layer->forward({x, filled({2, 4}, 1)}), plain) < kSameMath);
  REQUIRE(distance(layer->forward({x, filled({2, 4}, 0)}), plain) < kSameMath);
  Array mask = filled({2, 4}, 1);
  mask.at<float>({0, 1}) = mask.at<float>({1, 3}) = 0;
  REQUIRE(distance(layer->forward({x, mask}), plain) > 100);
  CHECK_THAT(refusal([&] { return layer->forward({x, filled({2, 12}, 1)}); }), says("(2, 12)"));
}

TEST_CASE("mobile_mqa: a masked pixel has no influence on others") {
  const Layer layer = small();
  Array x = image(4), mask = filled({1, 12}, 1);
  mask.at<float>({0, 6}) = 0;  // row 1, column 2
  const Array before = layer->forward({x, mask});
  for (int64_t c = 0; c < 24; ++c) x.at<float>({1, 1, 2, c}) += 3;
  const Array after = layer->forward({x, mask});
  REQUIRE(distance(cut(after, 2, 0, 2), cut(before, 2, 0, 2)) == 0);
  REQUIRE(distance(cut(after, 2, 2, 3), cut(before, 2, 2, 3)) > 1000);
  REQUIRE(distance(cut(after, 2, 3, 4), cut(before, 2, 3, 4)) == 0);
}

TEST_CASE("mobile_mqa: the weights that are returned") {
  const Layer layer = small({{"use_downsampling", true}});
  const Argument wanted("return_attention_weights", true);
  const Array x = image(5);
  const Input input(x);
  const auto outputs = layer->forward_all({&input, 1}, {.arguments = {&wanted, 1}});
  REQUIRE(outputs.size() == 2);
  const Array& a = outputs[1].value;
  REQUIRE(a.shape() == Shape{2, 4, 12, 4});
  for (int64_t row = 0; row < 2 * 4 * 12; ++row) {
    double sum = 0;
    for (int64_t k = 0; k < 4; ++k) sum += static_cast<double>(a.data<float>()[row * 4 + k]);
    REQUIRE(std::fabs(sum - 1) < 1e-6);
  }
}

TEST_CASE("mobile_mqa: the depthwise bias is there without use_bias") {
  const Layer layer = small({{"use_downsampling", true}, {"use_bias", false}});
  int biases = 0;
  for (const WeightInfo& w : layer->weights()) biases += w.name.find("bias") != std::string::npos;
  REQUIRE(biases == 1);
  REQUIRE(weight(*layer, "downsample/bias").shape() == Shape{6});
  REQUIRE(weight(*layer, "lambda").shape() == Shape{});
}

TEST_CASE("mobile_mqa: dropout acts on the weights, in training calls alone") {
  const Layer layer = small({{"dropout_rate", 0.5}});
  const Array x = image(6);
  const Array plain = layer->forward(x);
  REQUIRE(distance(layer->forward(x, {.seed = 1}), plain) == 0);
  const Array one = layer->forward(x, {.training = true, .seed = 1});
  REQUIRE(distance(one, plain) > 1000);
  REQUIRE(distance(layer->forward(x, {.training = true, .seed = 1}), one) == 0);
  REQUIRE(distance(layer->forward(x, {.training = true, .seed = 2}), one) > 1000);
}

TEST_CASE("mobile_mqa: what a call refuses") {
  const Layer layer = small();
  CHECK_THAT(refusal([&] {
               return layer->forward(random({2, 12, 24}, 1));
             }),
             says("4D (batch, height, width, dim), got shape (2, 12, 24)"));
  CHECK_THAT(refusal([&] {
               return layer->forward(random({2, 3, 4, 25}, 1));
             }),
             says("dimension (25) must match dim (24)"));
  CHECK_THAT(refusal([&] { return layer->forward(random({2, 0, 4, 24}, 1)); }), says("empty"));
}
