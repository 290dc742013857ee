// SPDX-License-Identifier: Apache-2.0
//
// Operators that move, choose and convert elements: copy, concat, select, take, convert, dropout.
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

TEST_CASE("take: rows of any shape by index of any shape and kind") {
  Trial t{op_take()};
  const Shape table = GENERATE(Shape{5}, Shape{5, 3}, Shape{5, 2, 70}, Shape{5, 0});
  const int32_t kind = GENERATE(ATTN_I32, ATTN_I64, ATTN_U32, ATTN_U8);
  t.in = {uniform(table), Values{{2, 3}, {4, 0, 4, 4, 1, 0}, kind}};
  t.examine();
  t.in[1] = Values{{}, {3}, kind};
  t.examine();
  t.in[1] = Values{{2, 0}, {}, kind};
  t.examine();
}

TEST_CASE("take: each row of the gradient is the sum over its places") {
  Trial t{op_take()};
  constexpr int64_t kPlaces = 3000, kRows = 40, kWidth = 17;
  Values index{{kPlaces}, {}, ATTN_I32};
  for (int64_t i = 0; i < kPlaces; ++i)
    index.x.push_back(static_cast<double>(i * i % (kRows - 1)));  // the last row is not taken
  t.in = {uniform({kRows, kWidth}), index};
  t.examine();
  const std::vector<double> dout = uniform({kPlaces, kWidth}, -1, 1, 5).x;
  const Outcome o = t.run({}, &dout);
  std::vector<double> y, sums(kRows * kWidth, 0.0);
  for (size_t i = 0; i < kPlaces; ++i)
    for (size_t k = 0; k < kWidth; ++k) {
      const size_t from = static_cast<size_t>(index.x[i]) * kWidth + k;
      y.push_back(t.in[0]->x[from]);
      sums[from] += dout[i * kWidth + k];
    }
  CHECK(o.out[0].x == y);
  CHECK(Trial::distance(sums, o.din[0], 0.5) < 1e-14);
}

TEST_CASE("take: what is no row is refused by its place") {
  Trial t{op_take()};
  t.in = {uniform({5, 3}), Values{{2, 3}, {4, 0, 4, 4, 1, 5}, ATTN_I64}};
  CHECK(t.refusal() ==
        "index[1, 2] is 5; expected 0 or more and less than 5, the rows of the table");
  t.in[1] = Values{{3}, {0, -1, 7}, ATTN_I32};
  CHECK(t.refusal().find("index[1] is -1; expected 0 or more") == 0);
  t.in = {uniform({0, 3}), Values{{}, {0}, ATTN_U8}};
  CHECK(t.refusal().find("index[] is 0; expected 0 or more and less than 0") == 0);
  t.in[1] = Values{{2}, {0, 1}, ATTN_BOOL};
  CHECK(t.refusal() == "index has element kind bool; expected int32, int64, uint32 or uint8");
  t.in = {uniform({}), Values{{}, {0}, ATTN_I32}};
  CHECK(t.refusal() == "table is a single number; expected rows");
  t.in = {uniform({1, 1, 1, 1, 1}), Values{{1, 1, 1, 1, 1}, {0}, ATTN_I32}};
  CHECK(t.refusal().find("make 9 axes; expected at most 8") != std::string::npos);
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
