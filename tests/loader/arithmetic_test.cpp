// SPDX-License-Identifier: Apache-2.0
//
// A plugin that changes how its thread computes is refused, and the change is undone.
#include <catch2/catch.hpp>

#include "tests/loader/fixtures.hpp"
#include "tests/tools/float_states.hpp"

using namespace attn::loader;
using namespace attn::loader::test;
using attn::PluginFile;
using attn::cpu::FloatState;

TEST_CASE("arithmetic: a file that changes rounding, denormals, traps or precision is refused") {
  for (const char* name :
       {"fast_math", "rounding_load", "traps_entry", "rounding_init", "precision_init"}) {
    for (const bool trusted : {false, true}) {
      INFO(name << (trusted ? " unprobed" : " probed"));
      const TempDir dir;
      const std::string path = dir.add(name);
      RegistryOptions o = options({dir.path()});
      o.trust_all = trusted;
      Registry registry(o, hooks());
      CHECK(registry.types().empty());
      CHECK(FloatState::now() == FloatState{});
      const PluginFile file = file_of(registry.report(), path);
      CHECK(file.code == "changes_arithmetic");
      CHECK(file.problem.find("how its thread computes") != std::string::npos);
    }
  }
}

TEST_CASE("arithmetic: what an application has set itself survives the search for plugins") {
  const TempDir dir;
  dir.add("good");
  dir.add("fast_math");
  attn::testing::kUpwards.set();
  Registry registry(options({dir.path()}), hooks());
  const auto ids = type_ids(registry);
  const FloatState after = FloatState::now();
  FloatState{}.set();
  CHECK(after == attn::testing::kUpwards);
  CHECK(ids == std::vector<std::string>{"fixture.good"});
}
