// SPDX-License-Identifier: Apache-2.0
#include "tests/tools/layers.hpp"

using namespace attn;
using namespace attn::test;

namespace {

constexpr int64_t kDim = 16, kHeads = 2;

Layer small(std::initializer_list<Json::Member> more = {}) {
  Json parameters{{"dim", kDim}, {"num_heads", kHeads}};
  for (const Json::Member& m : more) parameters.set(m.first, m.second);
  return make("ring", parameters, {{2, 9, kDim}});
}
Array row(const Array& x, int64_t token) { return cut(x, 1, token, token + 1); }

}  // namespace

TEST_CASE("ring: the block changes nothing, plain attention is the same") {
  const Array x = random({2, 700, kDim}, 1, 2.0F), mask = causal_mask(700);
  const Layer layer = small();
  const Layer plain = make("multi_head", {{"dim", kDim}, {"num_heads", kHeads}}, {{2, 9, kDim}});
  std::vector<Array> three;
  for (const char* name : {"w_q/kernel", "w_k/kernel", "w_v/kernel"})
    three.push_back(weight(*layer, name));
  plain->set_weight("cross_attention/qkv/kernel", joined(three, 1));
  plain->set_weight("cross_attention/proj/kernel", layer->weight("w_o/kernel"));
  const Array y = plain->forward(x), z = plain->forward({x, mask});
  for (const int64_t block : {1, 7, 128, 300, 512, 100000}) {
    const Layer same = small({{"block_size", block}});
    INFO("blocks of " << block);
    CHECK(distance(same->forward(x), y) < kSameMath);
    CHECK(distance(same->forward({x, mask}), z) < kSameMath);
  }
}

TEST_CASE("ring: gradients do not depend on the block") {
  const Array x = random({1, 600, kDim}, 2), g = random({1, 600, kDim}, 3);
  std::vector<Array> inputs, kernels;
  for (const int64_t block : {128, 1024}) {
    const Layer layer = small({{"block_size", block}});
    Context ctx;
    const std::vector<Input> in{x}, cotangents{g};
    layer->forward(ctx, in, {.record = true});
    Gradients gradients(*layer);
    layer->backward(ctx, cotangents, gradients);
    inputs.push_back(Array::copy_of(*ctx.input_gradient("inputs")));
    kernels.push_back(gradients.weight("w_k/kernel")->clone());
  }
  CHECK(distance(inputs[0], inputs[1]) < 4 * kSameMath);
  CHECK(distance(kernels[0], kernels[1]) < 4 * kSameMath);
}

TEST_CASE("ring: no future token through a causal mask, whatever the block") {
  const Layer layer = small({{"block_size", 128}});
  const Array x = random({1, 400, kDim}, 4), mask = causal_mask(400);
  const Array y = layer->forward({x, mask});
  for (const int64_t at : {1, 127, 128, 300}) {
    Array moved = x.clone();
    for (int64_t i = 0; i < kDim; ++i) moved.at<float>({0, at, i}) = 40;
    const Array z = layer->forward({moved, mask});
    CHECK(distance(cut(z, 1, 0, at), cut(y, 1, 0, at)) == 0);
    CHECK(distance(cut(z, 1, at, 400), cut(y, 1, at, 400)) > 1000);
  }
}

TEST_CASE("ring: a row that keeps nothing keeps everything, over all blocks") {
  const Layer layer = small({{"block_size", 128}});
  const Array x = random({2, 300, kDim}, 5);
  const Array y = layer->forward(x);
  Array mask = filled({1, kHeads, 300, 300}, 1);
  for (int64_t k = 0; k < 300; ++k) {
    for (int64_t h = 0; h < kHeads; ++h) mask.at<float>({0, h, 7, k}) = 0;
    // Row 9 keeps one key of the last block: the blocks before it are not for it.
    for (int64_t h = 0; h < kHeads; ++h) mask.at<float>({0, h, 9, k}) = k == 299 ? 1.0F : -1.0F;
  }
  const Array z = layer->forward({x, mask});
  CHECK(distance(row(z, 7), row(y, 7)) < kSameMath);
  CHECK(distance(row(z, 9), row(y, 9)) > 1000);
  // Row 9 is the value of token 299 alone.
  Array moved = x.clone();
  for (int64_t i = 0; i < kDim; ++i)
    for (int64_t t = 10; t < 299; ++t) moved.at<float>({0, t, i}) += 1;
  CHECK(distance(row(layer->forward({moved, mask}), 9), row(z, 9)) < kSameMath);
}

TEST_CASE("ring: masks of every rank") {
  const Layer layer = small();
  const Array x = random({2, 9, kDim}, 6);
  Array keys = filled({2, 9}, 1);
  keys.at<float>({0, 2}) = 0;
  keys.at<float>({1, 5}) = -3;
  keys.at<float>({1, 6}) = std::numeric_limits<float>::quiet_NaN();
  keys.at<float>({1, 7}) = 0.25F;
  const Array y = layer->forward({x, keys});
  CHECK(distance(layer->forward({x, reshaped(keys, {2, 1, 9})}), y) < kSameMath);
  CHECK(distance(layer->forward({x, reshaped(keys, {2, 1, 1, 9})}), y) < kSameMath);
  Array bits(ATTN_I32, {2, 9});
  for (int64_t i = 0; i < 18; ++i)
    bits.data<int32_t>()[i] = keys.data<float>()[i] > 0 ? 3 : -static_cast<int32_t>(i);
  CHECK(distance(layer->forward({x, bits}), y) == 0);
  CHECK(distance(layer->forward({x, cut(keys, 0, 0, 1)}), y) > 1000);
}

TEST_CASE("ring: dropout leaves the normaliser alone") {
  // One token: its weight is 1, so dropped or doubled.
  const Layer layer = small({{"dropout_rate", 0.5}});
  const Array x = random({64, 1, kDim}, 7);
  const Array y = layer->forward(x), z = layer->forward(x, {.training = true, .seed = 1});
  int dropped = 0;
  for (int64_t b = 0; b < 64; ++b) {
    // A head dropped, or both, or none; never NaN.
    double size = 0;
    for (int64_t i = 0; i < kDim; ++i) size += std::fabs(z.at<float>({b, 0, i}));
    REQUIRE(std::isfinite(size));
    dropped += size == 0;
  }
  CHECK(dropped > 4);  // 64 draws at 1/4: 16 with a deviation of 3.5
  CHECK(dropped < 32);
  REQUIRE(distance(y, z) > 0);

  const Layer none = small({{"dropout_rate", 1.0}});
  const Array zeros = none->forward(x, {.training = true});
  for (int64_t i = 0; i < zeros.size(); ++i) REQUIRE(zeros.data<float>()[i] == 0);

  // The draw belongs to the pair of tokens, not to the block.
  const Array longer = random({1, 600, kDim}, 8);
  const CallOptions call{.training = true, .seed = 3};
  CHECK(distance(small({{"dropout_rate", 0.5}, {"block_size", 128}})->forward(longer, call),
                 small({{"dropout_rate", 0.5}, {"block_size", 1024}})->forward(longer, call)) <
        kSameMath);
}

TEST_CASE("ring: what is refused") {
  const Layer layer = small();
  const Array x = random({2, 9, kDim}, 9);
  const auto masked = [&](const Shape& shape) {
    return refusal([&] { return layer->forward({x, filled(shape, 1)}); });
  };
  CHECK_THAT(refusal([&] { return layer->forward(random({9, kDim}, 1)); }), says("(9, 16)"));
  CHECK_THAT(refusal([&] { return layer->forward(random({2, 9, 8}, 1)); }), says("16"));
  for (const Shape& shape : {Shape{9}, Shape{1, 1, 1, 1, 9}})
    CHECK_THAT(masked(shape), says("rank 2 (batch, key), 3") && says("4 (batch, head"));
  CHECK_THAT(masked({2, 8}), says("(2, 8)"));
  CHECK_THAT(masked({3, 9}), says("(3, 9)"));
  CHECK_THAT(masked({2, 9, 1}), says("(2, 9, 1)"));
  CHECK_THAT(masked({2, 3, 9, 9}), says("(2, 3, 9, 9)"));
  const Argument weights("return_attention_weights", true);
  const std::vector<Input> inputs{x};
  CHECK(layer->forward_all(inputs, {.arguments = {&weights, 1}}).size() == 1);
}
