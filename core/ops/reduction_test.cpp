// SPDX-License-Identifier: Apache-2.0
#include "core/ops/op_test.hpp"

using namespace attn::ops;
using namespace attn::ops::testing;

TEST_CASE("reduction: sum, mean and max over every choice of axes") {
  const attn_op& op = *GENERATE(&op_sum(), &op_mean(), &op_max());
  const bool keep = GENERATE(false, true);
  const Axes axes =
      GENERATE(Axes{}, Axes{0}, Axes{-1}, Axes{1}, Axes{0, 2}, Axes{-1, 1}, Axes{1, 0});
  Trial t{op};
  t.attrs = {axes, keep};
  t.in = {uniform({4, 3, 17})};
  t.examine();
  if (keep) return;
  t.in = {uniform({90, 2, 211})};  // several chunks
  t.examine();
}

TEST_CASE("reduction: scalars, no elements, and the first of equals") {
  Trial sum{op_sum()};
  sum.in = {uniform({})};
  sum.examine();
  sum.in = {uniform({0, 3})};
  sum.attrs = {Axes{0}};
  CHECK(sum.run({}).out[0].x == std::vector<double>{0, 0, 0});
  Trial mean{op_mean()};
  mean.in = sum.in;
  mean.attrs = sum.attrs;
  CHECK(mean.refusal() ==
        "mean of no elements: x has shape (0, 3); expected extents above 0 on the axes");
  mean.attrs = {Axes{2}};
  CHECK(mean.refusal() == "axis 2 is out of range for rank 2; expected -2..1");
  mean.attrs = {Axes{1, -1}};
  CHECK(mean.refusal() == "axis -1 is listed twice");
  Trial max{op_max()};
  max.in = {Values{{2, 4}, {1, 7, 7, 2, 3, NAN, 9, NAN}}};
  max.attrs = {Axes{1}};
  const std::vector<double> dout{1, 1};
  const Outcome o = max.run({}, &dout);
  CHECK(o.out[0].x[0] == 7);
  CHECK(std::isnan(o.out[0].x[1]));
  CHECK(o.din[0] == std::vector<double>{0, 1, 0, 0, 0, 1, 0, 0});
}

TEST_CASE("reduction: mean and maximum side by side") {
  const Axes axes =
      GENERATE(Axes{}, Axes{0}, Axes{-1}, Axes{1}, Axes{0, 2}, Axes{2, 1}, Axes{1, 0});
  Trial t{op_mean_max()};
  t.attrs = {axes};
  t.in = {uniform({4, 3, 17})};
  t.examine();
  t.in = {uniform({90, 2, 211})};  // several chunks
  t.examine();
}

TEST_CASE("reduction: mean and maximum of a product") {
  const Axes axes = GENERATE(Axes{}, Axes{-1}, Axes{1}, Axes{0, 2}, Axes{1, 2});
  const Shape factors = GENERATE(Shape{5, 1, 19}, Shape{1, 3, 1}, Shape{19}, Shape{5, 3, 19});
  Trial t{op_mean_max()};
  t.attrs = {axes};
  t.in = {uniform({5, 3, 19}), uniform(factors, -1, 1, 2)};
  t.examine();
  t.in[1] = uniform({2, 3, 19});
  CHECK(t.refusal().find("broadcast") != std::string::npos);
}

TEST_CASE("reduction: equal largest elements share the gradient of mean_max") {
  const Axes axes = GENERATE(Axes{1}, Axes{0});
  Trial t{op_mean_max()};
  t.attrs = {axes};
  // Along axis 1 as they stand; the same lines along axis 0.
  const bool row = axes[0] == 1;
  const double x[2][4] = {{1, 7, 7, 2}, {3, NAN, 9, NAN}};
  Values v = filled(row ? Shape{2, 4} : Shape{4, 2}, 0);
  for (size_t r = 0; r < 2; ++r)
    for (size_t i = 0; i < 4; ++i) v.x[row ? r * 4 + i : i * 2 + r] = x[r][i];
  t.in = {v};
  const std::vector<double> dout{4, 1, 0, 1};  // mean, max of the first; of the second
  for (const int32_t dtype : {ATTN_F32, ATTN_F64}) {
    const Outcome o = t.run({dtype}, &dout);
    CHECK(o.out[0].x[0] == 4.25);
    CHECK(o.out[0].x[1] == 7);
    CHECK(std::isnan(o.out[0].x[2]));
    CHECK(std::isnan(o.out[0].x[3]));
    const std::vector<double> expected{1, 1.5, 1.5, 1};
    for (size_t i = 0; i < 4; ++i) CHECK(o.din[0][row ? i : i * 2] == expected[i]);
  }
  t.in = {uniform({0, 3})};
  t.attrs = {Axes{0}};
  CHECK_FALSE(t.refusal().empty());
}

TEST_CASE("reduction: mean_max sees a NaN wherever it stands, and infinities") {
  const bool row = GENERATE(true, false);
  constexpr int64_t kN = 211;
  const Shape shape = row ? Shape{40, kN} : Shape{kN, 40};
  Values v = uniform(shape);
  const auto at = [&](int64_t line, int64_t i) -> double& {
    return v.x[static_cast<size_t>(row ? line * kN + i : i * 40 + line)];
  };
  for (const int64_t i : {0, 5, 63, 64, 150, 210}) at(i % 37, i) = NAN;
  at(38, 7) = -INFINITY;
  at(38, 150) = INFINITY;
  at(39, 9) = -INFINITY;
  Trial t{op_mean_max()};
  t.in = {v};
  t.attrs = {Axes{row ? 1 : 0}};
  const attn::cpu::Level before = attn::cpu::level();
  for (const attn::cpu::Level level : attn::cpu::available()) {
    attn::cpu::set_level(level);
    const std::vector<double> y = t.run({ATTN_F32}).out[0].x;
    for (int64_t line = 0; line < 40; ++line) {
      bool nan = false;
      double most = -INFINITY;
      for (int64_t i = 0; i < kN; ++i) {
        nan = nan || std::isnan(at(line, i));
        most = std::max(most, at(line, i));
      }
      const size_t k = static_cast<size_t>(line) * 2;
      CHECK(std::isnan(y[k]) == (nan || line == 38));
      CHECK((nan ? std::isnan(y[k + 1]) : y[k + 1] == most));
    }
  }
  attn::cpu::set_level(before);
}

TEST_CASE("reduction: running sums along every axis") {
  const int64_t axis = GENERATE(0, 1, 2, -1);
  Trial t{op_cumsum()};
  t.attrs = {axis};
  t.in = {uniform(GENERATE(Shape{4, 3, 17}, Shape{90, 2, 211}, Shape{1, 400, 3}, Shape{0, 3, 5},
                           Shape{2, 3, 0}))};
  t.examine();
}

TEST_CASE("reduction: values of running sums, NaN and infinities") {
  Trial t{op_cumsum()};
  t.in = {Values{{3, 4}, {1, 2, 3, 4, 1, NAN, 1, 1, INFINITY, 1, -INFINITY, 1}}};
  const std::vector<double> ones(12, 1);
  const Outcome o = t.run({}, &ones);
  const std::vector<double>& y = o.out[0].x;
  CHECK(std::vector<double>(y.begin(), y.begin() + 5) == std::vector<double>{1, 3, 6, 10, 1});
  for (const size_t i : {5, 6, 7, 10, 11}) CHECK(std::isnan(y[i]));
  for (const size_t i : {8, 9}) CHECK(y[i] == INFINITY);
  CHECK(o.din[0] == std::vector<double>{4, 3, 2, 1, 4, 3, 2, 1, 4, 3, 2, 1});
  t.attrs = {int64_t{2}};
  CHECK(t.refusal() == "axis 2 is out of range for rank 2; expected -2..1");
  t.in = {uniform({})};
  CHECK_FALSE(t.refusal().empty());
  // Added up in double: what float would lose stays.
  t.attrs = {int64_t{0}};
  t.in = {filled({1000}, 1)};
  t.in[0]->x[0] = 1e8;
  CHECK(t.run({ATTN_F32}).out[0].x[999] == static_cast<double>(static_cast<float>(1e8 + 999)));
}
