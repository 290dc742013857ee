// SPDX-License-Identifier: Apache-2.0
//
// Operators that move, choose and convert elements: copy, concat, select, convert, dropout.
#include "core/ops/op_test.hpp"

using namespace attn;
using namespace attn::ops;
using namespace attn::ops::testing;

TEST_CASE("copy: every layout, transposes in tiles") {
  Trial t{op_copy()};
  const Shape shape = GENERATE(Shape{}, Shape{5}, Shape{3, 0, 2}, Shape{37, 41}, Shape{2, 3, 4, 5},
                               Shape{3, 70, 5, 33});
  t.in = {uniform(shape)};
  t.examine();
}

TEST_CASE("concat: three tensors, an absent one, every axis") {
  Trial t{op_concat()};
  const int64_t axis = GENERATE(0, 1, -1);
  t.attrs = {axis};
  const size_t at = axis < 0 ? 2 : static_cast<size_t>(axis);
  Shape a{2, 3, 4}, b = a, d = a;
  b[at] = 5;
  d[at] = 0;
  t.in = {uniform(a), uniform(b, -1, 1, 2), std::nullopt, uniform(d), uniform(a, -1, 1, 3)};
  t.examine();
  t.in = {uniform({2, 3, 4}), uniform({2, 3})};
  CHECK(t.refusal().find("tensor 1 has shape (2, 3), the first one (2, 3, 4)") == 0);
}

TEST_CASE("select: broadcasting, conditions of every kind") {
  Trial t{op_select()};
  const int32_t kind =
      GENERATE(ATTN_BOOL, ATTN_U8, ATTN_I32, ATTN_I64, ATTN_U32, ATTN_F32, ATTN_F64);
  Values condition{{4, 1}, {0, 1, 1, 0}, kind};
  t.in = {condition, uniform({3, 1, 5}), uniform({5}, -1, 1, 2)};
  t.examine();
  condition.x = {0, 1, 2, 3};
  if (kind == ATTN_F32) condition.x = {NAN, 0.25, INFINITY, -1};
  t.in[0] = condition;
  const Outcome o = t.run({});
  CHECK(o.out[0].x[0] == t.in[2]->x[0]);
  CHECK(o.out[0].x[5] == t.in[1]->x[0]);
}

TEST_CASE("select: 16-bit conditions") {
  Trial t{op_select()};
  const int32_t kind = GENERATE(ATTN_F16, ATTN_BF16);
  const double inf = kind == ATTN_F16 ? 0x7c00 : 0x7f80;
  // 0, smallest, infinity, NaN, -0, negative, as bits
  t.in = {Values{{6}, {0, 1, inf, inf + 1, 0x8000, 0xb000}, kind}, filled({}, 1), filled({}, 2)};
  CHECK(t.run({}).out[0].x == std::vector<double>{2, 1, 1, 2, 2, 2});
}

TEST_CASE("convert: between floating kinds, from integers") {
  Trial t{op_convert()};
  t.attrs = {int64_t{ATTN_F32}};
  t.in = {uniform({3, 5})};
  t.difference_tolerance = 0.01;  // steps of 1e-5 seen through float
  t.examine();
  t.attrs = {int64_t{ATTN_F64}};
  t.difference_tolerance = 1e-6;
  t.examine();
  t.in = {Values{{3}, {-7, 0, 3}, ATTN_I32}};
  CHECK(t.run({}).out[0].x == std::vector<double>{-7, 0, 3});
  t.attrs = {int64_t{ATTN_F16}};
  CHECK(t.run({}).out[0].x == std::vector<double>{0xc700, 0, 0x4200});  // bits
  t.attrs = {int64_t{ATTN_I32}};
  CHECK(t.refusal().find("dtype 5 is no floating kind") == 0);
}

TEST_CASE("dropout: forward and vjp drop the same elements; extreme rates") {
  Trial t{op_dropout()};
  t.attrs = {GENERATE(0.0, 0.3, 1.0)};
  t.in = {uniform({3, 5, 7})};
  t.examine();
}

TEST_CASE("dropout: the share that is dropped, the scale, and the seed") {
  Trial t{op_dropout()};
  t.attrs = {0.25};
  t.in = {filled({100000}, 3)};
  const Outcome o = t.run({});
  const auto& y = o.out[0].x;
  const auto dropped = std::count(y.begin(), y.end(), 0.0);
  CHECK(std::count(y.begin(), y.end(), 4.0) + dropped == 100000);
  // 5 standard deviations of sqrt(n p (1 - p)) = 137
  CHECK(std::abs(static_cast<double>(dropped) - 25000) < 685);
  Trial other = t;
  other.seed = 8;
  CHECK(other.run({}).out[0].x != o.out[0].x);
  t.attrs = {1.5};
  CHECK(t.refusal() == "rate is 1.5; expected 0 to 1");
}
