// SPDX-License-Identifier: Apache-2.0
//
// Results do not depend on how threads of the application, or functions of other plugins, have set rounding,
// denormals, traps and precision; and the library leaves all that as it was.
#include <atomic>
#include <attn/factory.hpp>
#include <attn/plugins.hpp>
#include <attn/threads.hpp>
#include <catch2/catch.hpp>
#include <optional>

#include "core/threads/pool.hpp"
#include "tests/layers/layers.hpp"
#include "tests/tools/build.hpp"
#include "tests/tools/float_states.hpp"

namespace attn::testing {
namespace {

using cpu::FloatState;

Results results(const Sample& s) {
  const auto layer = create_attention_layer(s.type, s.config);
  std::vector<Array> in;
  for (size_t i = 0; i < s.inputs.size(); ++i) in.push_back(wave(s.inputs[i], i + 1));
  std::vector<std::optional<Shape>> shapes(s.inputs.begin(), s.inputs.end());
  layer->build(shapes, {.seed = 7});
  std::vector<const Array*> pointers;
  for (const Array& a : in) pointers.push_back(&a);
  Context context;
  return forward_and_gradients(*layer, context, pointers, {.training = true, .seed = 5});
}

}  // namespace

TEST_CASE("arithmetic: every sample has the same bits whatever the application's thread has set") {
  for (const Sample& s : samples()) {
    const Results expected = results(s);
    for (const FloatState& state : kOtherStates) {
      INFO(s.type << " " << s.config.dump() << " in state " << &state - kOtherStates);
      state.set();
      // New workers begin with what the thread that starts them has set.
      set_threads(3);
      const Results now = results(s);
      const FloatState after = FloatState::now();
      FloatState{}.set();
      CHECK(now == expected);
      CHECK(after == state);
      set_threads(2);
    }
  }
}

TEST_CASE("arithmetic: what a loop's body sets on a worker ends with the loop") {
  threads::ThreadPool pool(3);
  threads::PoolParallel p(pool);
  std::atomic<int> wrong{0};
  for (int i = 1; i <= 200; ++i)
    p.loop(i % 64, 1, [&](int64_t, int64_t, int) {
      static thread_local int last = 0;
      if (last != i) wrong += FloatState::now() != FloatState{};
      last = i;
      kUpwards.set();
    });
  CHECK(wrong == 0);
  CHECK(FloatState::now() == FloatState{});
}

TEST_CASE("arithmetic: what functions of a type set ends with the call") {
  for (const char* way : {"round_up", "flush_denormals", "trap", "shorten_x87"}) {
    load_plugin(test::built("tests/plugins_bad/arithmetic/") + way + ".so");
    for (const FloatState& state : {FloatState{}, kUpwards, kOtherStates[3]}) {
      INFO(way << (state == FloatState{} ? " by default" : " in another state"));
      state.set();
      bool kept = true;
      const auto check = [&] { kept = kept && FloatState::now() == state; };
      {
        auto layer = create_attention_layer(std::string("fixture.") + way, Json::object());
        check();
        layer->build({Shape{1, 2, 4}}, {});
        check();
        static_cast<void>(layer->forward(Array(ATTN_F32, Shape{1, 2, 4})));
        check();
      }
      check();
      FloatState{}.set();
      CHECK(kept);
    }
  }
}

}  // namespace attn::testing
