// SPDX-License-Identifier: Apache-2.0
//
// What output_shapes() promises of calls with a state: the shapes that forward gives, and its refusals.
#include <catch2/catch.hpp>
#include <functional>

#include "tests/layers/layers.hpp"

namespace attn::testing {
namespace {

std::string message_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const InvalidArgument& e) {
    return e.what();
  }
  return "";
}

}  // namespace

TEST_CASE("shape-only calls with a history see all of it") {
  for (const Sample& sample : types_with_history()) {
    CAPTURE(sample.type);
    const auto layer = create_attention_layer(sample.type, sample.config);
    layer->build({Shape{2, 4, 16}}, {});
    const auto state = layer->make_state(2, 8);
    std::vector<Argument> arguments;
    for (uint32_t i = 0; i < layer->type().n_args; ++i)
      if (const std::string_view name = layer->type().args[i]->name;
          name == "return_attention_weights")
        arguments.emplace_back(name, true);
    int64_t seen = 0;
    for (const int64_t count : {4, 3, 1}) {
      seen += count;
      const Array x = wave({2, count, 16});
      const Array mask =
          Array::from(std::vector<float>(static_cast<size_t>(2 * seen), 1.0f), {2, seen});
      const std::vector<Input> inputs{{"inputs", x}, {"attention_mask", mask}};
      const CallOptions options{.arguments = arguments, .state = state.get()};
      const auto shapes = layer->output_shapes(inputs, options);
      CHECK(state->length() == seen - count);
      const auto outputs = layer->forward_all(inputs, options);
      REQUIRE(shapes.size() == outputs.size());
      for (size_t i = 0; i < outputs.size(); ++i) {
        CHECK(shapes[i].first == outputs[i].name);
        CHECK(shapes[i].second == outputs[i].value.shape());
      }
    }
    // The ninth position, another batch and another length of the mask: refused alike.
    const Array one = wave({2, 1, 16}), three = wave({3, 1, 16}), mask(ATTN_F32, {2, 5});
    const std::vector<std::vector<Input>> refused{
        {{"inputs", one}}, {{"inputs", three}}, {{"inputs", one}, {"attention_mask", mask}}};
    for (const auto& inputs : refused) {
      const CallOptions options{.state = state.get()};
      const std::string message = message_of([&] { (void)layer->forward_all(inputs, options); });
      CHECK_FALSE(message.empty());
      CHECK(message_of([&] { (void)layer->output_shapes(inputs, options); }) == message);
      CHECK(state->length() == 8);
    }
  }
}

}  // namespace attn::testing
