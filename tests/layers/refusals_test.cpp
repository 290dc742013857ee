// SPDX-License-Identifier: Apache-2.0
//
// What calls refuse, and that a refused call leaves everything as it was.
#include <catch2/catch.hpp>

#include "tests/layers/layers.hpp"

namespace attn::testing {
namespace {

const Json kCached = {{"dim", 16}, {"num_heads", 4}, {"num_kv_heads", 2}, {"max_seq_len", 32}};

using Catch::Matchers::Contains;

}  // namespace

TEST_CASE("refusals: a call whose outputs have no place leaves the state as it was") {
  const auto layer = create_attention_layer("group_query", kCached);
  layer->build({Shape{1, 3, 16}});
  const Array x = wave({1, 3, 16}), step = wave({1, 1, 16}, 2);
  const Input in(x), next(step);
  const auto decode = [&](bool with_failures) {
    const auto state = layer->make_state(1);
    Context ctx;
    layer->forward(ctx, {&in, 1}, {.state = state.get()});
    if (with_failures) {
      Array small(ATTN_F32, {1, 2, 16}), whole(ATTN_I32, {1, 3, 16}), good(ATTN_F32, {1, 3, 16});
      const std::vector<std::vector<OutputMemory>> bad{{{"output", small.view()}},
                                                       {{"output", whole.view()}},
                                                       {{"no_such_output", good.view()}},
                                                       {{"attention_weights", good.view()}}};
      for (const auto& memory : bad)
        CHECK_THROWS_AS(layer->forward(ctx, {&in, 1}, {.state = state.get()}, memory),
                        InvalidArgument);
      // Of two outputs the first is not written either.
      const OutputMemory both[]{{"output", good.view()}, {"output", small.view()}};
      CHECK_THROWS_AS(layer->forward(ctx, {&in, 1}, {.state = state.get()}, both), InvalidArgument);
      CHECK(same_bits(good, Array(ATTN_F32, {1, 3, 16})));
      CHECK_THROWS_AS(layer->forward({wave({1, 3, 17})}, {.state = state.get()}), InvalidArgument);
      CHECK_THROWS_AS(layer->forward({wave({2, 1, 16})}, {.state = state.get()}), InvalidArgument);
      CHECK_THROWS_AS(layer->forward({wave({1, 40, 16})}, {.state = state.get()}), InvalidArgument);
    }
    CHECK(state->length() == 3);
    layer->forward(ctx, {&next, 1}, {.state = state.get()});
    CHECK(state->length() == 4);
    return Array::copy_of(*ctx.output());
  };
  CHECK(same_bits(decode(true), decode(false)));
}

TEST_CASE("refusals: a context and a state outlive their layer and serve no other") {
  const auto make = [] {
    auto layer = create_attention_layer("group_query", kCached);
    layer->build({Shape{1, 3, 16}});
    return layer;
  };
  const Array x = wave({1, 3, 16});
  const Input in(x);
  // The new layer often gets the memory of the old one, so addresses prove nothing.
  for (int i = 0; i < 8; ++i) {
    Context ctx;
    std::unique_ptr<State> state;
    {
      const auto layer = make();
      layer->forward(ctx, {&in, 1}, {.record = true});
      state = layer->make_state(1);
    }
    const auto other = make();
    Gradients gradients(*other);
    CHECK_THROWS_AS(other->backward(ctx, {&in, 1}, gradients), InvalidArgument);
    other->commit(ctx);
    CHECK_THROWS_WITH(other->forward(ctx, {&in, 1}, {.state = state.get()}),
                      Contains("the state belongs to another layer"));
  }
}

TEST_CASE("refusals: gradients of outputs that are not there, or set more than once") {
  const auto layer = create_attention_layer("multi_head", {{"dim", 16}, {"num_heads", 4}});
  const Array x = wave({1, 3, 16});
  const Input in(x);
  Context ctx;
  layer->forward(ctx, {&in, 1}, {.record = true});
  Gradients gradients(*layer);
  const auto refused = [&](const std::vector<Input>& given, const std::string& part) {
    CHECK_THROWS_WITH(layer->backward(ctx, given, gradients), Contains(part));
  };
  refused({x, x}, "2 gradients given; expected gradients of the outputs ['output']");
  refused({Input("output", x.view()), Input("output", x.view())}, "set more than once");
  refused({Input("attention", x.view())}, "no output 'attention'");
  layer->backward(ctx, {&in, 1}, gradients);  // none of them spoiled the tape
}

}  // namespace attn::testing
