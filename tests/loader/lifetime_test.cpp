// SPDX-License-Identifier: Apache-2.0
#include <sys/wait.h>

#include <catch2/catch.hpp>
#include <cstdlib>

#include "tests/loader/fixtures.hpp"

using namespace attn::loader;
using namespace attn::loader::test;

namespace {

// Destroyed later than anything that deinit() could wait for.
RegisteredType& kept() {
  static auto* const type = new RegisteredType;
  return *type;
}

// What the fixture writes while a process that loads it twice lives and ends normally.
std::string life(bool keep_a_type) {
  const TempDir dir;
  dir.add("deinit");
  const std::string log = dir / "log.txt";
  const pid_t child = ::fork();
  if (child == 0) {
    ::setenv("ATTN_FIXTURE_LOG", log.c_str(), 1);
    {
      Registry one(options({dir.path()}), hooks()), two(options({dir.path()}), hooks());
      const RegisteredType type = one.type("fixture.deinit");
      if (two.type("fixture.deinit").type != type.type) ::_exit(1);
      if (keep_a_type) kept() = type;
    }
    std::exit(0);
  }
  int status = -1;
  ::waitpid(child, &status, 0);
  CHECK(status == 0);
  return read_file(log);
}

}  // namespace

TEST_CASE("lifetime: init once, deinit at the end of the process") {
  CHECK(life(false) == "init deinit ");
}

TEST_CASE("lifetime: no deinit while something of the plugin is alive") {
  CHECK(life(true) == "init ");
}

TEST_CASE("lifetime: a type outlives its registry and its file") {
  const TempDir dir;
  const std::string path = dir.add("good");
  RegisteredType type;
  {
    Registry registry(options({dir.path()}), hooks());
    type = registry.type("fixture.good");
  }
  std::filesystem::remove(path);
  attn_layer* layer = nullptr;
  attn_error error{};
  const attn_value size{ATTN_VALUE_I64, 0, {1}};
  CHECK(type.type->create(&size, &layer, &error) == ATTN_OK);
  type.type->destroy(layer);
  CHECK(type.path == path);
}
