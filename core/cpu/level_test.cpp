// SPDX-License-Identifier: Apache-2.0
#include "core/cpu/level.hpp"

#include <catch2/catch.hpp>
#include <cstdlib>
#include <string>

#include "core/error/error.hpp"
#include "core/kernels/table.hpp"

using namespace attn;

TEST_CASE("cpu: levels are listed worst first and the chosen one is among them") {
  const auto here = cpu::available();
  REQUIRE(here.size() >= 2);
  CHECK(here[0] == cpu::Level::reference);
  bool found = false;
  for (const auto level : here) found = found || level == cpu::level();
  CHECK(found);
  const char* forced = std::getenv("ATTN_ISA");
  if (forced != nullptr && *forced != '\0') CHECK(std::string(forced) == cpu::name(cpu::level()));
  CHECK(cpu::describe().find(cpu::name(here[1])) != std::string::npos);
}

TEST_CASE("cpu: every level but the reference has a kernel table with its own name") {
  const auto before = cpu::level();
  for (const auto level : cpu::available()) {
    cpu::set_level(level);
    CHECK(cpu::level() == level);
    if (level == cpu::Level::reference) {
      CHECK_THROWS_AS(kernels::table(), Failure);
    } else {
      CHECK(kernels::table().level == level);
    }
  }
  cpu::set_level(before);
}
