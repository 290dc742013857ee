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
