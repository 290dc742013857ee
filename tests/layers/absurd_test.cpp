// SPDX-License-Identifier: Apache-2.0
//
// Numbers of a plugin that index, size or shape something of the host's: the largest there may be work, absurd ones
// are refused in the call that brings them, and the layer stays usable.
#include <attn/factory.hpp>
#include <attn/plugins.hpp>
#include <catch2/catch.hpp>

#include "tests/layers/layers.hpp"
#include "tests/tools/build.hpp"

namespace attn::testing {
namespace {

std::string plugin(const char* name) {
  return test::built("tests/plugins_bad/absurd/") + name + ".so";
}

// The class of the exception and its text.
template <class F>
std::string thrown(F&& f) {
  try {
    f();
  } catch (const InvalidArgument& e) {
    return std::string("InvalidArgument: ") + e.what();
  } catch (const Failure& e) {
    return std::string("Failure: ") + e.what();
  } catch (const std::exception& e) {
    return std::string("other: ") + e.what();
  }
  return "nothing";
}

}  // namespace

TEST_CASE("absurd: a type with the most inputs, outputs and arguments there may be works") {
  load_plugin(plugin("most"));
  const auto layer = create_attention_layer("fixture.most", Json::object());
  std::vector<Array> x;
  std::vector<Input> in;
  for (size_t i = 0; i < 16; ++i) x.push_back(wave({5}, i + 1));
  for (const Array& a : x) in.emplace_back(a);
  const auto y = layer->forward_all(in, {});
  REQUIRE(y.size() == 16);
  for (size_t i = 0; i < 16; ++i) CHECK(same_bits(y[i].value, x[i]));
  Context context;
  layer->forward(context, in, {.record = true});
  std::vector<Input> cotangents;
  for (const Array& a : x) cotangents.emplace_back(a);
  Gradients gradients(*layer);
  layer->backward(context, cotangents, gradients);
  for (size_t i = 0; i < 16; ++i)
    CHECK(same_bits(Array::copy_of(*context.input_gradient("n" + std::to_string(i))), x[i]));
}

TEST_CASE("absurd: numbers of a plugin's build, forward and operators are refused") {
  load_plugin(plugin("absurd"));
  const Array x = wave({2, 3});
  const auto run = [&](int what) {
    INFO(what);
    const auto layer = create_attention_layer("fixture.absurd", {{"what", what}});
    std::string first, second, recorded;
    first = thrown([&] { layer->build({Shape{2, 3}}, {}); });
    if (first != "nothing") return first;
    const auto state = layer->make_state(2, 8);
    first = thrown([&] { layer->forward_all({{Input(x)}}, {.state = state.get()}); });
    second = thrown([&] { layer->forward_all({{Input(x)}}, {.state = state.get()}); });
    CHECK(first == second);
    CHECK(state->length() == 0);
    Context context;
    recorded = thrown([&] { layer->forward(context, {{Input(x)}}, {.record = true}); });
    return first != "nothing" ? first : recorded;
  };
  CHECK(run(0) == "nothing");
  for (const auto& [from, to] : {std::pair(1, 16), {20, 29}, {40, 48}})
    for (int what = from; what <= to; ++what) {
      if (what == 2) continue;  // an empty view lies anywhere
      const std::string text = run(what);
      INFO(what << ": " << text);
      CHECK((text.rfind("Failure: fixture_type", 0) == 0 ||
             text.rfind("InvalidArgument: fixture_type", 0) == 0));
    }
  CHECK(run(2) == "nothing");
}

TEST_CASE("absurd: a state of a type without the flag for it is refused") {
  load_plugin(plugin("stateless"));
  const auto layer = create_attention_layer("fixture.stateless", {{"what", 0}});
  CHECK_THAT(thrown([&] {
               layer->build({Shape{2, 3}}, {});
             }),
             Catch::Matchers::Contains("ATTN_TYPE_STATEFUL"));
}

}  // namespace attn::testing
