// SPDX-License-Identifier: Apache-2.0
//
// What kernels tell of their ways: the way that they take, lanes that idle, windows without effect, tiles of rules.
#include "core/threads/notes.hpp"

#include <catch2/catch.hpp>

#include <vector>

#include "core/cpu/level.hpp"
#include "core/kernels/attention_notes.hpp"
#include "core/kernels/fft.hpp"
#include "core/kernels/table.hpp"
#include "core/threads/pool.hpp"

using namespace attn;
using namespace attn::kernels;

TEST_CASE("notes: ways and waste are told once") {
  Notes n;
  n.add("packed");
  n.add("packed");
  n.add("3 x 4 blocks");
  CHECK(n.way == "packed; 3 x 4 blocks");
  n.add_lanes("heads of 20", 20, 16, 0.5);
  n.add_lanes("heads of 20", 20, 16, 0.5);
  REQUIRE(n.waste.size() == 1);
  CHECK(n.waste[0].kind == "lanes");
  CHECK(n.waste[0].part == Approx(0.5 * (1 - 20.0 / 32)));
  CHECK_THAT(n.waste[0].text,
             Catch::Matchers::Contains("2 vectors of 16") && Catch::Matchers::Contains("38 %"));
  // Nearly full ones are not worth a word.
  n.add_lanes("columns", 63, 16);
  n.add_lanes("columns", 64, 16);
  CHECK(n.waste.size() == 1);
}

TEST_CASE("notes: a window or block that hides nothing") {
  AttentionArgs<float> a;
  a.batch = 1, a.queries = a.keys = 8;
  const auto told = [&] {
    Notes n;
    note_structure(n, a);
    return !n.waste.empty();
  };
  CHECK_FALSE(told());  // there is none
  a.right = 0;
  CHECK_FALSE(told());  // a causal call is no window
  a.left = 7;
  CHECK(told());
  a.left = 6;
  CHECK_FALSE(told());
  a.left = a.right = 7;
  CHECK(told());
  a.right = 6;
  CHECK_FALSE(told());
  a.left = a.right = -1;
  a.block = 8;
  CHECK(told());
  a.block = 4;
  CHECK_FALSE(told());
}

TEST_CASE("notes: tiles of a mask rule and instructions of programs") {
  AttentionArgs<float> a;
  a.batch = a.heads = a.kv_heads = 1, a.queries = a.keys = 1152, a.head_dim = a.value_dim = 8;
  const auto told = [&](std::string_view rule, std::string_view score) {
    const auto p = program::make_program({.score = score, .mask_rule = rule, .names = {}});
    program::Call call = program::call_of(*p);
    call.extents[0] = call.extents[1] = 1, call.extents[2] = call.extents[3] = 1152;
    a.program = &call;
    Notes n;
    note_program(n, a);
    return n.way;
  };
  // 12 tiles of queries, the 11th with the first of the second block of keys.
  const std::string tiles = "mask rule: of 24 tiles of 96 queries and 1024 keys ";
  CHECK(told("q / 1024 == k / 1024", "") ==
        tiles + "11 are skipped, 11 full, 2 mixed; 1 instruction a score where mixed");
  // Rows of a tile have their last keys in the first block but for those of the last two tiles.
  CHECK(told("k <= q", "") ==
        tiles +
            "10 are skipped, 1 full, 13 mixed; it bounds the keys of rows and costs nothing more");
  CHECK(told("", "s - 0.5 * float(k - q)") == "score program: 4 instructions a score");
  a.program = nullptr;
  Notes n;
  note_program(n, a);
  CHECK(n.way.empty());
}

TEST_CASE("notes: kernels tell what they did to those who ask") {
  const cpu::Level before = cpu::level();
  for (const cpu::Level level : cpu::available()) {
    INFO(cpu::name(level));
    cpu::set_level(level);
    threads::PoolParallel parallel;
    std::vector<float> x(9 * 9 * 9, 0.5f), y(9 * 9);
    const auto product = [&] {
      gemm(Gemm{.m = 9,
                .n = 9,
                .k = 9,
                .a = x.data(),
                .a_row = 9,
                .b = x.data(),
                .b_row = 9,
                .b_col = 1,
                .c = y.data(),
                .c_row = 9},
           parallel);
    };
    product();  // nobody asks
    Notes n;
    parallel.notes = &n;
    product();
    parallel.notes = nullptr;
    INFO(n.way);
    CHECK_FALSE(n.way.empty());
    if (level == cpu::Level::reference)
      CHECK_THAT(n.way, Catch::Matchers::Contains("scalar"));
    else
      CHECK(n.waste.size() == 1);  // 9 columns fill no vectors of 4, 8 or 16
  }
  cpu::set_level(before);
}
