// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch.hpp>

#include "core/ops/op_test.hpp"

namespace attn::ops::testing {

TEST_CASE("matmul: transposes, broadcasting and scaling") {
  struct Case {
    Shape a, b;
    bool ta, tb;
  };
  const Case cases[] = {
      {{5, 7}, {7, 3}, false, false},
      {{7, 5}, {7, 3}, true, false},
      {{5, 7}, {3, 7}, false, true},
      {{7, 5}, {3, 7}, true, true},
      {{2, 3, 4, 5}, {2, 3, 5, 6}, false, false},
      {{2, 3, 4, 5}, {1, 3, 6, 5}, false, true},
      {{3, 5, 4}, {2, 1, 5, 6}, true, false},
      {{2, 2, 3, 9, 5}, {2, 2, 1, 17, 5}, false, true},
      {{1, 1}, {1, 1}, false, false},
  };
  for (const Case& c : cases) {
    Trial t{op_matmul()};
    t.attrs = {c.ta, c.tb, 0.75};
    t.in = {uniform(c.a), uniform(c.b, -1, 1, 2)};
    t.examine();
  }
}

TEST_CASE("matmul: a zero leaves out what it would multiply, if asked to") {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  Trial t{op_matmul()};
  t.in = {Values{{2, 3}, {2, 0, 1, 1, 0, 3}},
          Values{{3, 2}, {1, 2, nan, std::numeric_limits<double>::infinity(), 5, 6}}};
  for (const int32_t dtype : {ATTN_F32, ATTN_F64})
    for (const bool skip : {false, true}) {
      t.attrs = {false, false, 0.5, skip};
      Conditions how;
      how.dtype = dtype;
      const std::vector<double> y = t.run(how).out[0].x;
      if (skip)
        CHECK(y == std::vector<double>{3.5, 5, 8, 10});
      else
        CHECK(std::isnan(y[0]));
    }
}

TEST_CASE("matmul: shapes that do not multiply are refused") {
  Trial t{op_matmul()};
  t.in = {uniform({2, 3}), uniform({4, 2})};
  CHECK(t.refusal().find("sums over 3 elements, b over 4") != std::string::npos);
  t.in = {uniform({3}), uniform({3, 2})};
  CHECK(t.refusal().find("at least two axes") != std::string::npos);
  t.in = {uniform({2, 2, 3}), uniform({3, 3, 2})};
  CHECK(t.refusal().find("do not broadcast") != std::string::npos);
}

}  // namespace attn::ops::testing
