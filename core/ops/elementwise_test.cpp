// SPDX-License-Identifier: Apache-2.0
#include "core/ops/op_test.hpp"

using namespace attn;
using namespace attn::ops;
using namespace attn::ops::testing;

TEST_CASE("elementwise: two tensors, all ways of broadcasting") {
  const attn_op& op =
      *GENERATE(&op_add(), &op_sub(), &op_mul(), &op_div(), &op_maximum(), &op_minimum(), &op_pow(),
                &op_less(), &op_less_equal(), &op_equal(), &op_not_equal());
  const auto shapes = GENERATE(
      std::pair<Shape, Shape>{{2, 3, 5}, {2, 3, 5}}, std::pair<Shape, Shape>{{2, 3, 5}, {5}},
      std::pair<Shape, Shape>{{5}, {4, 3, 5}}, std::pair<Shape, Shape>{{2, 1, 5}, {2, 3, 1}},
      std::pair<Shape, Shape>{{2, 3, 5}, {}}, std::pair<Shape, Shape>{{}, {}},
      std::pair<Shape, Shape>{{2, 0, 5}, {5}}, std::pair<Shape, Shape>{{300, 70}, {300, 1}},
      std::pair<Shape, Shape>{{300, 70}, {70}});
  Trial t{op};
  t.in = {uniform(shapes.first, 0.5, 2, 1), uniform(shapes.second, 0.55, 2, 2)};
  t.examine();
}

TEST_CASE("elementwise: a product of three") {
  struct Case {
    Shape a, b, c;
  };
  const Case k =
      GENERATE(Case{{2, 3, 4, 5}, {2, 1, 1, 5}, {2, 3, 4, 1}}, Case{{7}, {3, 1}, {2, 1, 1}},
               Case{{}, {}, {}}, Case{{0, 3}, {3}, {1}}, Case{{130, 140}, {140}, {130, 1}});
  Trial t{op_mul()};
  t.in = {uniform(k.a, -1, 1, 1), uniform(k.b, -1, 1, 2), uniform(k.c, -1, 1, 3)};
  t.examine();
  t.in[2] = uniform({4, 4, 4, 4, 4});
  CHECK((k.a.empty() || !t.refusal().empty()));
}

TEST_CASE("elementwise: values, ties and NaN of maximum and minimum") {
  const bool least = GENERATE(false, true);
  Trial t{least ? op_minimum() : op_maximum()};
  t.in = {Values{{4}, {1, 2, NAN, 3}}, Values{{4}, {1, least ? -5. : 5., 1, NAN}}};
  const std::vector<double> dout{1, 1, 1, 1};
  const Outcome o = t.run({}, &dout);
  CHECK(o.out[0].x[0] == 1);
  CHECK(o.out[0].x[1] == t.in[1]->x[1]);
  CHECK(std::isnan(o.out[0].x[2]));
  CHECK(std::isnan(o.out[0].x[3]));
  CHECK(o.din[0] == std::vector<double>{1, 0, 1, 0});
  CHECK(o.din[1] == std::vector<double>{0, 1, 0, 1});
}

TEST_CASE("elementwise: shapes that do not broadcast, and wrong kinds, are refused") {
  Trial t{op_add()};
  t.in = {uniform({2, 3}), uniform({4, 3})};
  CHECK(t.refusal() ==
        "shapes (2, 3) and (4, 3) do not broadcast: extents 2 and 4; expected equal ones or 1");
  t.in = {uniform({3}), Values{{3}, {1, 2, 3}, ATTN_I32}};
  CHECK(t.refusal() == "b has element kind int32; expected float32 or float64 (convert it first)");
  t.in = {uniform({3}), Values{{3}, {1, 2, 3}, ATTN_F32}};
  CHECK(t.refusal() ==
        "b is float32 but other inputs are float64; expected one dtype (convert one of them)");
}

TEST_CASE("elementwise: one tensor") {
  const attn_op& op =
      *GENERATE(&op_abs(), &op_exp(), &op_log(), &op_sqrt(), &op_square(), &op_affine());
  Trial t{op};
  if (op.n_attrs) t.attrs = {2.5, -0.75};
  t.in = {uniform(GENERATE(Shape{2, 3, 5}, Shape{}, Shape{0, 4}, Shape{20000}), 0.3, 3)};
  t.examine();
}

TEST_CASE("elementwise: comparisons as IEEE 754 has them") {
  const double inf = INFINITY;
  const Values a{{7}, {1, 2, 3, NAN, 1, inf, -0.0}}, b{{7}, {2, 2, 2, 1, NAN, inf, 0}};
  using Bools = std::vector<double>;
  for (const auto& [op, expected] : {std::pair{&op_less(), Bools{1, 0, 0, 0, 0, 0, 0}},
                                     {&op_less_equal(), Bools{1, 1, 0, 0, 0, 1, 1}},
                                     {&op_equal(), Bools{0, 1, 0, 0, 0, 1, 1}},
                                     {&op_not_equal(), Bools{1, 0, 1, 1, 1, 0, 0}}}) {
    Trial t{*op};
    t.in = {a, b};
    for (const int32_t dtype : {ATTN_F32, ATTN_F64}) {
      const Outcome o = t.run({dtype});
      INFO(op->name);
      CHECK(o.out[0].x == expected);
      CHECK(o.out[0].dtype == ATTN_BOOL);
    }
    CHECK_FALSE(t.has_vjp());
  }
}

TEST_CASE("elementwise: absolute values and powers at their edges") {
  const double inf = INFINITY;
  const auto gradient = [](Trial& t) {
    const std::vector<double> ones(t.in[0]->x.size(), 1);
    return t.run({}, &ones);
  };
  Trial abs{op_abs()};
  abs.in = {Values{{5}, {-2, -0.0, 3, -inf, NAN}}};
  Outcome o = gradient(abs);
  CHECK(std::vector<double>(o.out[0].x.begin(), o.out[0].x.end() - 1) ==
        std::vector<double>{2, 0, 3, inf});
  CHECK_FALSE(std::signbit(o.out[0].x[1]));
  CHECK(std::vector<double>(o.din[0].begin(), o.din[0].end() - 1) ==
        std::vector<double>{-1, 0, 1, -1});
  CHECK((std::isnan(o.out[0].x[4]) && std::isnan(o.din[0][4])));

  Trial pow{op_pow()};
  pow.in = {Values{{8}, {-2, 0, 0, 0, -8, NAN, 1, 2}},
            Values{{8}, {3, 2, 0, -1, 0.5, 0, NAN, inf}}};
  o = gradient(pow);
  const std::vector<double>& y = o.out[0].x;
  CHECK(std::vector<double>(y.begin(), y.begin() + 4) == std::vector<double>{-8, 0, 1, inf});
  CHECK(std::isnan(y[4]));
  CHECK(std::vector<double>(y.begin() + 5, y.end()) == std::vector<double>{1, 1, inf});
  // A slope by the base of 0 where the exponent is 0; by the exponent where the base is.
  CHECK(std::vector<double>(o.din[0].begin(), o.din[0].begin() + 4) ==
        std::vector<double>{12, 0, 0, -inf});
  CHECK(o.din[0][5] == 0);
  CHECK(std::vector<double>(o.din[1].begin() + 1, o.din[1].begin() + 3) ==
        std::vector<double>{0, 0});
  CHECK(std::isnan(o.din[1][0]));
}
