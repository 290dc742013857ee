// SPDX-License-Identifier: Apache-2.0
#include <atomic>
#include <catch2/catch.hpp>
#include <thread>

#include "tests/loader/fixtures.hpp"
#include "tests/tools/child.hpp"

using namespace attn::loader;
using namespace attn::loader::test;
using attn::testing::in_child;

TEST_CASE("fork: a child finds the types though another thread was searching") {
  const TempDir dir;
  dir.add("good");
  dir.add("operator");
  dir.add("hang");
  RegistryOptions o = options({dir.path()});
  o.probe.deadline = std::chrono::milliseconds(300);
  for (const int wait : {0, 1, 20, 100, 250, 320}) {
    Registry registry(o, hooks());
    std::thread searching([&] { static_cast<void>(registry.types()); });
    std::this_thread::sleep_for(std::chrono::milliseconds(wait));
    const std::string ended = in_child([&] {
      return type_ids(registry) == std::vector<std::string>{"fixture.good", "fixture.operator"};
    });
    searching.join();
    INFO(wait << " ms");
    CHECK(ended == "exit 0");
    CHECK(type_ids(registry).size() == 2);
  }
}
