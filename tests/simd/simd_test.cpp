// SPDX-License-Identifier: Apache-2.0
#include <attn/sdk/dispatch.hpp>

#include <catch2/catch.hpp>

#include "core/cpu/level.hpp"
#include "functions.hpp"

ATTN_SDK_DISPATCH(simd_checks, Checks, checks)

TEST_CASE("vectors for plugins: the same functions at every level, in float and double") {
  for (const attn::cpu::Level level : attn::cpu::available()) {
    CAPTURE(attn::cpu::name(level));
    const simd_checks::Checks& of_level = simd_checks::checks(attn::cpu::name(level));
    CHECK(of_level.single() == nullptr);
    CHECK(of_level.twice() == nullptr);
  }
}
