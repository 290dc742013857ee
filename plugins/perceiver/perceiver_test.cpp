// SPDX-License-Identifier: Apache-2.0
#include "tests/tools/layers.hpp"

using namespace attn;
using namespace attn::test;

namespace {

Layer small(uint64_t seed = 7) {
  return make("perceiver", {{"dim", 24}, {"num_heads", 3}}, {{2, 4, 24}, {2, 30, 24}}, seed);
}

}  // namespace

TEST_CASE("perceiver: is multi_head_cross with separate projections") {
  const Layer layer = small();
  const Layer cross =
      make("multi_head_cross", {{"dim", 24}, {"num_heads", 3}}, {{2, 4, 24}, {2, 30, 24}}, 99);
  for (const WeightInfo& w : cross->weights())
    cross->set_weight(w.name, layer->weight("cross_attention/" + w.name));
  const Array x = random({2, 4, 24}, 1), y = random({2, 30, 24}, 2);
  REQUIRE(layer->weights().size() == cross->weights().size());
  REQUIRE(distance(layer->forward({x, y}), cross->forward({x, y})) == 0);
}

TEST_CASE("perceiver: the order of the input array does not matter, that of the latents does") {
  const Layer layer = small();
  const Array x = random({2, 4, 24}, 3), y = random({2, 30, 24}, 4);
  std::vector<int64_t> order(30);
  for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int64_t>((7 * i + 3) % 30);
  const Array plain = layer->forward({x, y});
  REQUIRE(distance(layer->forward({x, reordered(y, 1, order)}), plain) < kSameMath);
  REQUIRE(distance(layer->forward({reordered(x, 1, {1, 2, 3, 0}), y}),
                   reordered(plain, 1, {1, 2, 3, 0})) < kSameMath);
}

TEST_CASE("perceiver: a masked part of the input array might as well be missing") {
  const Layer layer = small();
  const Array x = random({2, 4, 24}, 5), y = random({2, 30, 24}, 6);
  Array mask = filled({1, 30}, 1);
  for (int64_t k = 20; k < 30; ++k) mask.at<float>({0, k}) = 0;
  REQUIRE(distance(layer->forward({x, y, mask}), layer->forward({x, cut(y, 1, 0, 20)})) <
          kSameMath);
}

TEST_CASE("perceiver: alone, the latents attend to themselves") {
  const Layer layer = small();
  const Array x = random({2, 4, 24}, 7);
  REQUIRE(distance(layer->forward(x), layer->forward({x, x})) == 0);
}

TEST_CASE("perceiver: what a call refuses") {
  const Layer layer = small();
  const Array x = random({2, 4, 24}, 8), y = random({2, 30, 24}, 9);
  CHECK_THAT(refusal([&] { return layer->forward({random({4, 24}, 1), y}); }), says("3D"));
  CHECK_THAT(refusal([&] { return layer->forward({x, random({2, 30, 25}, 1)}); }), says("24"));
  CHECK_THAT(refusal([&] { return layer->forward({x, random({3, 30, 24}, 1)}); }), says("batch"));
  CHECK_THAT(refusal([&] { return layer->forward({x, y, filled({2, 4}, 1)}); }), says("(2, 4)"));
  const std::vector<Input> four{x, y, x, y};
  CHECK_FALSE(refusal([&] { return layer->forward_all(four); }).empty());
}

TEST_CASE("perceiver: a state keeps the projected input array") {
  const Layer layer = small();
  const Array x = random({2, 4, 24}, 10), y = random({2, 30, 24}, 11);
  Array mask = filled({2, 30}, 1);
  for (int64_t k = 20; k < 30; ++k) mask.at<float>({1, k}) = 0;
  const Array whole = layer->forward({x, y}), masked = layer->forward({x, y, mask});
  const auto state = layer->make_state(2);
  CHECK_THAT(refusal([&] { return layer->forward(x, {.state = state.get()}); }),
             says("kv_input is missing"));
  CHECK_FALSE(refusal([&] {
                return layer->forward({x, y, filled({2, 29}, 1)}, {.state = state.get()});
              }).empty());
  CHECK(state->bytes() == 0);
  CHECK_THAT(refusal([&] {
               return layer->forward({x, y}, {.training = true, .state = state.get()});
             }),
             says("training"));
  REQUIRE(distance(layer->forward({x, y}, {.state = state.get()}), whole) < kSameMath);
  REQUIRE(distance(layer->forward(x, {.state = state.get()}), whole) < kSameMath);
  const std::vector<Input> later{{"query_input", x.view()}, {"attention_mask", mask.view()}};
  REQUIRE(distance(layer->forward_all(later, {.state = state.get()}).front().value, masked) <
          kSameMath);
  CHECK_THAT(refusal([&] {
               return layer->forward({x, y}, {.state = state.get()});
             }),
             says("reset"));
  CHECK_THAT(refusal([&] { return layer->forward(cut(x, 0, 0, 1), {.state = state.get()}); }),
             says("batch"));
  state->reorder({1, 0});
  REQUIRE(distance(layer->forward(reordered(x, 0, {1, 0}), {.state = state.get()}),
                   reordered(whole, 0, {1, 0})) < kSameMath);
  state->reset();
  REQUIRE(distance(layer->forward({x, cut(y, 1, 0, 8)}, {.state = state.get()}),
                   layer->forward({x, cut(y, 1, 0, 8)})) < kSameMath);
}
