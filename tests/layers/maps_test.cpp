// SPDX-License-Identifier: Apache-2.0
//
// Attention maps of a call, and parts of them: the same numbers as in the whole, and the same output of the call.
#include <catch2/catch.hpp>

#include <cmath>

#include "tests/tools/layers.hpp"

namespace attn::test {
namespace {

struct Captured {
  AttentionMap map;
  Array output;
};

Captured capture(Attention& layer, const Array& x, const MapPart& part, bool training) {
  Context context;
  context.keep_maps(part);
  layer.forward(context, std::vector<Input>{x}, {.training = training, .seed = 3});
  std::vector<AttentionMap> maps = context.take_maps();
  REQUIRE(maps.size() == 1);
  return {std::move(maps.front()), Array::copy_of(*context.output())};
}

double largest_difference(const Array& a, const Array& b) {
  REQUIRE(a.shape() == b.shape());
  double largest = 0;
  for (int64_t i = 0; i < a.size(); ++i)
    largest = std::max<double>(largest, std::fabs(a.data<float>()[i] - b.data<float>()[i]));
  return largest;
}

}  // namespace

TEST_CASE("maps: a part has the numbers of the whole") {
  const bool training = GENERATE(false, true);
  const Layer layer = make(
      "group_query", {{"dim", 32}, {"num_heads", 4}, {"num_kv_heads", 2}, {"dropout_rate", 0.3}},
      {{2, 9, 32}});
  const Array x = random({2, 9, 32}, 1);
  const Captured whole = capture(*layer, x, {}, training);
  CHECK(whole.map.weights.shape() == Shape{2, 4, 9, 9});
  for (const int64_t head : {0, 1, 3})
    for (const int64_t heads : {1, 2, 0})
      for (const int64_t query : {0, 4, 8})
        for (const int64_t queries : {1, 3, 0}) {
          const Captured part = capture(*layer, x, {head, heads, query, queries}, training);
          CHECK(part.map.part);
          const int64_t h_end = heads ? std::min<int64_t>(4, head + heads) : 4,
                        q_end = queries ? std::min<int64_t>(9, query + queries) : 9;
          const Array expected = cut(cut(whole.map.weights, 1, head, h_end), 2, query, q_end);
          CHECK(largest_difference(part.map.weights, expected) <= 1e-6);
          CHECK(largest_difference(part.output, whole.output) <= 1e-6);
        }
}

TEST_CASE("maps: a part beyond the last head or query is empty") {
  const Layer layer = make("multi_head", {{"dim", 16}, {"num_heads", 4}}, {{1, 5, 16}});
  const Array x = random({1, 5, 16}, 1);
  CHECK(capture(*layer, x, {9, 1, 0, 0}, false).map.weights.shape() == Shape{1, 0, 5, 5});
  CHECK(capture(*layer, x, {0, 0, 7, 2}, false).map.weights.shape() == Shape{1, 4, 0, 5});
}

TEST_CASE("maps: keep_maps(true) keeps whole ones again") {
  const Layer layer = make("multi_head", {{"dim", 16}, {"num_heads", 4}}, {{1, 5, 16}});
  const Array x = random({1, 5, 16}, 1);
  Context context;
  context.keep_maps(MapPart{.head = 1, .heads = 1});
  context.keep_maps(true);
  layer->forward(context, std::vector<Input>{x});
  CHECK(context.take_maps().front().weights.shape() == Shape{1, 4, 5, 5});
}

}  // namespace attn::test
