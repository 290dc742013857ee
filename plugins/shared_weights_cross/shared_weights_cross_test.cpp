// SPDX-License-Identifier: Apache-2.0
#include "tests/tools/layers.hpp"

using namespace attn;
using namespace attn::test;

namespace {

constexpr int64_t kDim = 24;

// A layer whose biases are not zero.
Layer small() {
  Layer layer = make("shared_weights_cross", {{"dim", kDim}, {"num_heads", 4}}, {{2, 12, kDim}});
  layer->set_weight("qkv/bias", random({3 * kDim}, 101));
  layer->set_weight("proj/bias", random({kDim}, 102));
  return layer;
}

Array run(Attention& layer, std::initializer_list<Input> inputs,
          const std::vector<int64_t>& sizes) {
  const Argument split("split_sizes", std::span<const int64_t>(sizes));
  return layer.forward(inputs, {.arguments = {&split, 1}});
}

void disturb(Array& x, int64_t token) {
  for (int64_t b = 0; b < x.shape()[0]; ++b)
    for (int64_t j = 0; j < kDim; ++j) x.at<float>({b, token, j}) += 2;
}

}  // namespace

TEST_CASE("shared_weights_cross: is two calls of multi_head_cross") {
  const Layer layer = small();
  const Layer cross =
      make("multi_head_cross", {{"dim", kDim}, {"num_heads", 4}}, {{2, 5, kDim}, {2, 7, kDim}});
  const Array kernel = weight(*layer, "qkv/kernel"), bias = weight(*layer, "qkv/bias");
  cross->set_weight("q/kernel", cut(kernel, 1, 0, kDim));
  cross->set_weight("kv/kernel", cut(kernel, 1, kDim, 3 * kDim));
  cross->set_weight("q/bias", cut(bias, 0, 0, kDim));
  cross->set_weight("kv/bias", cut(bias, 0, kDim, 3 * kDim));
  cross->set_weight("proj/kernel", layer->weight("proj/kernel"));
  cross->set_weight("proj/bias", layer->weight("proj/bias"));
  const Array x = random({2, 12, kDim}, 1);
  const Array a = cut(x, 1, 0, 5), b = cut(x, 1, 5, 12);
  Array mask = filled({1, 12, 12}, 1);
  for (int64_t q = 0; q < 12; ++q) mask.at<float>({0, q, q * 5 % 12}) = 0;

  // With four sizes the keys are the first ones of each modality.
  for (const std::vector<int64_t>& sizes :
       {std::vector<int64_t>{5, 7}, {2, 3, 4, 3}, {5, 0, 1, 6}, {1, 4, 7, 0}}) {
    const int64_t keys_a = sizes[0], keys_b = sizes.size() == 4 ? sizes[2] : 7;
    const Array of_a = cut(a, 1, 0, keys_a), of_b = cut(b, 1, 0, keys_b);
    const auto block = [&](int64_t row, int64_t rows, int64_t column, int64_t columns) {
      return cut(cut(mask, 1, row, row + rows), 2, column, column + columns);
    };
    INFO(sizes[0] << ", " << sizes[1] << ", ...");
    std::vector<Array> plain, masked;
    plain.push_back(cross->forward({a, of_b}));
    plain.push_back(cross->forward({b, of_a}));
    masked.push_back(cross->forward({a, of_b, block(0, 5, 5, keys_b)}));
    masked.push_back(cross->forward({b, of_a, block(5, 7, 0, keys_a)}));
    CHECK(distance(run(*layer, {x}, sizes), joined(plain, 1)) < kSameMath);
    CHECK(distance(run(*layer, {x, mask}, sizes), joined(masked, 1)) < kSameMath);
  }
}

TEST_CASE("shared_weights_cross: norms see both modalities, query tokens included") {
  const Layer layer =
      make("shared_weights_cross",
           {{"dim", kDim}, {"num_heads", 4}, {"qk_norm_type", "batch_norm"}}, {{2, 12, kDim}});
  Array x = random({2, 12, kDim}, 7);
  const std::vector<int64_t> sizes{2, 3, 4, 3};
  const Argument split("split_sizes", std::span<const int64_t>(sizes));
  static_cast<void>(layer->forward(x, {.training = true, .arguments = {&split, 1}}));
  const Array first = weight(*layer, "k_norm/moving_mean");
  disturb(x, 3);  // a query token of A: never a key
  static_cast<void>(layer->forward(x, {.training = true, .arguments = {&split, 1}}));
  // 0.99 m + 0.01 m' would be 1.99 m for equal batches.
  Array twice = first.clone();
  for (int64_t i = 0; i < twice.size(); ++i) twice.data<float>()[i] *= 1.99F;
  REQUIRE(distance(weight(*layer, "k_norm/moving_mean"), twice) > 1000);
}

TEST_CASE("shared_weights_cross: a mask removes keys of the other modality") {
  const Layer layer = small();
  Array x = random({2, 12, kDim}, 2);
  Array mask = filled({1, 12}, 1);
  mask.at<float>({0, 6}) = mask.at<float>({0, 1}) = 0;
  const Array before = run(*layer, {x, mask}, {5, 7});
  disturb(x, 6);
  const Array after = run(*layer, {x, mask}, {5, 7});
  REQUIRE(distance(cut(after, 1, 0, 6), cut(before, 1, 0, 6)) == 0);
  REQUIRE(distance(cut(after, 1, 7, 12), cut(before, 1, 7, 12)) == 0);
  REQUIRE(distance(run(*layer, {x}, {5, 7}), after) > 1000);
}

TEST_CASE("shared_weights_cross: only the blocks between the modalities count in a mask") {
  const Layer layer = small();
  const Array x = random({2, 12, kDim}, 3);
  Array mask = filled({1, 12, 12}, 1);
  for (int64_t q = 0; q < 12; ++q)
    for (int64_t k = 0; k < 12; ++k)
      if ((q < 5) == (k < 5)) mask.at<float>({0, q, k}) = 0;
  REQUIRE(distance(run(*layer, {x, mask}, {5, 7}), run(*layer, {x}, {5, 7})) < kSameMath);
  // A row that keeps keys of its own modality alone has none in its block, and so keeps all.
  for (int64_t k = 0; k < 12; ++k) mask.at<float>({0, 2, k}) = k < 5;
  REQUIRE(distance(run(*layer, {x, mask}, {5, 7}), run(*layer, {x}, {5, 7})) < kSameMath);
  // Rank 1, and extents of 1 that stay whole.
  Array keys = filled({12}, 1);
  keys.at<float>({8}) = 0;
  REQUIRE(distance(run(*layer, {x, keys}, {5, 7}),
                   run(*layer, {x, reshaped(keys, {1, 1, 1, 12})}, {5, 7})) == 0);
}

TEST_CASE("shared_weights_cross: query tokens are queries and never keys") {
  const Layer layer = small();
  Array x = random({2, 12, kDim}, 4);
  const std::vector<int64_t> sizes{2, 3, 4, 3};  // query tokens 2..4 and 9..11
  const Array before = run(*layer, {x}, sizes);
  disturb(x, 3);
  disturb(x, 11);
  const Array after = run(*layer, {x}, sizes);
  for (const int64_t token : {0, 1, 2, 4, 5, 6, 7, 8, 9, 10})
    REQUIRE(distance(cut(after, 1, token, token + 1), cut(before, 1, token, token + 1)) == 0);
  REQUIRE(distance(cut(after, 1, 3, 4), cut(before, 1, 3, 4)) > 1000);
  // Without query tokens the anchors are the modality.
  REQUIRE(distance(run(*layer, {x}, {5, 0, 7, 0}), run(*layer, {x}, {5, 7})) == 0);
}

TEST_CASE("shared_weights_cross: without keys the output is the bias") {
  const Layer layer = small();
  const Array x = random({2, 12, kDim}, 5);
  const Array bias = weight(*layer, "proj/bias");
  const auto is_bias = [&](const Array& y, int64_t begin, int64_t end) {
    for (int64_t b = 0; b < 2; ++b)
      for (int64_t s = begin; s < end; ++s)
        for (int64_t j = 0; j < kDim; ++j)
          if (y.at<float>({b, s, j}) != bias.at<float>({j})) return false;
    return true;
  };
  REQUIRE(is_bias(run(*layer, {x}, {0, 12}), 0, 12));
  REQUIRE(is_bias(run(*layer, {x}, {12, 0}), 0, 12));
  const Array half = run(*layer, {x}, {0, 4, 3, 5});
  REQUIRE(is_bias(half, 4, 12));
  REQUIRE_FALSE(is_bias(half, 0, 4));
}

TEST_CASE("shared_weights_cross: a norm with weights for each position gets all positions") {
  // Ones and zeros at first, whichever axis they belong to.
  const auto with_axis = [](int64_t axis) {
    return make("shared_weights_cross",
                {{"dim", kDim},
                 {"num_heads", 3},
                 {"qk_norm_type", "dynamic_tanh"},
                 {"qk_norm_kwargs", Json{{"axis", axis}}}},
                {{2, 12, kDim}});
  };
  const Array x = random({2, 12, kDim}, 8);
  for (const std::vector<int64_t>& split : {std::vector<int64_t>{2, 1, 6, 3}, {0, 4, 3, 5}, {5, 7}})
    CHECK(distance(run(*with_axis(-2), {x}, split), run(*with_axis(-1), {x}, split)) < kSameMath);
}

TEST_CASE("shared_weights_cross: what a call refuses") {
  const Layer layer = small();
  const Array x = random({2, 12, kDim}, 6);
  CHECK_THAT(refusal([&] { return layer->forward(x); }), says("split_sizes"));
  CHECK_THAT(refusal([&] { return run(*layer, {x}, {4, 4, 4}); }), says("must have length 2 or 4"));
  CHECK_THAT(refusal([&] { return run(*layer, {x}, {13, -1}); }), says("must not be negative"));
  CHECK_THAT(refusal([&] {
               return run(*layer, {x}, {5, 8});
             }),
             says("Sum of split_sizes (13) must equal total sequence length (12)"));
  const int64_t huge = std::numeric_limits<int64_t>::max();
  CHECK_THAT(refusal([&] { return run(*layer, {x}, {huge, 13}); }), says("Sum of split_sizes"));
  const Argument number("split_sizes", 12);
  CHECK_THAT(refusal([&] {
               return layer->forward(x, {.arguments = {&number, 1}});
             }),
             says("split_sizes"));
  CHECK_THAT(refusal([&] { return run(*layer, {random({12, kDim}, 1)}, {5, 7}); }), says("3D"));
  for (const Shape& shape : {Shape{2, 7}, Shape{2, 12, 1}, Shape{3, 12}, Shape{2, 5, 12},
                             Shape{1, 2, 12, 12}, Shape{1, 1, 1, 1, 12}})
    CHECK_THAT(refusal([&] {
                 return run(*layer, {x, filled(shape, 1)}, {5, 7});
               }),
               says(shape.to_string()));
}
