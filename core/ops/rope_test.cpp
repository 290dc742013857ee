// SPDX-License-Identifier: Apache-2.0
#include "core/ops/op_test.hpp"

using namespace attn::ops;
using namespace attn::ops::testing;

TEST_CASE("rope: sizes, partial rotation, offsets") {
  Trial t{op_rope()};
  struct Case {
    Shape x;
    int64_t r, offset;
  };
  const Case c = GENERATE(Case{{2, 3, 5, 8}, 8, 0}, Case{{2, 1, 4, 7}, 4, 3},
                          Case{{1, 2, 3, 5}, 0, 2}, Case{{1, 4, 300, 64}, 64, 17},
                          Case{{2, 2, 0, 8}, 8, 0}, Case{{1, 2, 9, 34}, 34, 1000});
  t.attrs = {10000.0, c.r, c.offset};
  t.in = {uniform(c.x)};
  t.examine();
}

TEST_CASE("rope: the formula at one position, and the components beyond rope_dim") {
  Trial t{op_rope()};
  t.attrs = {100.0, int64_t{4}, int64_t{6}};
  t.in = {Values{{1, 1, 1, 5}, {1, 2, 3, 4, 5}}};
  const auto y = t.run({}).out[0].x;
  CHECK(y[0] == Approx(std::cos(6.0) - 2 * std::sin(6.0)));
  CHECK(y[1] == Approx(std::sin(6.0) + 2 * std::cos(6.0)));
  CHECK(y[2] == Approx(3 * std::cos(0.6) - 4 * std::sin(0.6)));
  CHECK(y[3] == Approx(3 * std::sin(0.6) + 4 * std::cos(0.6)));
  CHECK(y[4] == 5);
}

TEST_CASE("rope: scores depend on the distance alone; far positions keep their precision") {
  const Values q = uniform({1, 1, 1, 16}, -1, 1, 1), k = uniform({1, 1, 1, 16}, -1, 1, 2);
  const auto score = [&](int64_t at, int32_t dtype) {
    Trial a{op_rope()}, b{op_rope()};
    a.attrs = {10000.0, int64_t{16}, at + 5};
    b.attrs = {10000.0, int64_t{16}, at};
    a.in = {q};
    b.in = {k};
    const auto x = a.run({dtype}).out[0].x, y = b.run({dtype}).out[0].x;
    double sum = 0;
    for (size_t i = 0; i < 16; ++i) sum += x[i] * y[i];
    return sum;
  };
  const double at_0 = score(0, ATTN_F64);
  CHECK(score(1234, ATTN_F64) == Approx(at_0).epsilon(1e-10));
  // beyond the kept tables
  CHECK(score(int64_t{3} << 20, ATTN_F64) == Approx(at_0).epsilon(1e-7));
  // 16 products, each rounded a few times in float
  CHECK(std::abs(score(100000, ATTN_F32) - at_0) < 64 * 1.2e-7);
}

TEST_CASE("rope: refusals") {
  Trial t{op_rope()};
  t.in = {uniform({2, 3, 8})};
  CHECK(t.refusal() == "x has shape (2, 3, 8); expected (B, H, S, D)");
  t.in = {uniform({1, 2, 3, 8})};
  t.attrs = {10000.0, int64_t{3}};
  CHECK(t.refusal() == "rope_dim is 3; expected an even number from 0 to the head size 8");
  t.attrs = {0.0, int64_t{4}};
  CHECK(t.refusal() == "theta is 0; expected a positive number");
  t.attrs = {10.0, int64_t{4}, int64_t{-1}};
  CHECK(t.refusal() == "offset is -1; expected 0 to 2^52");
}
