// SPDX-License-Identifier: Apache-2.0
#include "core/kinds/kinds.hpp"
#include "core/ops/op_test.hpp"

using namespace attn;
using namespace attn::ops;
using namespace attn::ops::testing;
using K = ActivationKind;

namespace {

constexpr double kNone = INFINITY;

Trial trial(K kind, const Reals& constants = {}, int64_t axis = -1) {
  Trial t{op_activation()};
  t.attrs = {static_cast<int64_t>(kind), constants, axis};
  return t;
}

struct Case {
  K kind;
  Reals constants;
};
std::vector<Case> plain_cases() {
  return {{K::linear, {}},
          {K::sigmoid, {}},
          {K::tanh, {}},
          {K::relu, {kNone, 0, 0}},
          {K::relu, {6, 0, 0}},
          {K::relu, {kNone, 0.2, 0}},
          {K::relu, {1.5, 0.1, 0.4}},
          {K::relu_k, {1}},
          {K::relu_k, {3}},
          {K::relu_k, {6}},
          {K::elu, {}},
          {K::selu, {}},
          {K::elu_plus_one, {}},
          {K::gelu, {}},
          {K::silu, {}},
          {K::mish, {}},
          {K::saturated_mish, {3, 0.5}},
          {K::golu, {1.2, 0.8, 1.1}},
          {K::hard_sigmoid, {}},
          {K::hard_swish, {}},
          {K::hard_tanh, {}},
          {K::hard_shrink, {}},
          {K::soft_shrink, {}},
          {K::tanh_shrink, {}},
          {K::softplus, {}},
          {K::softsign, {}},
          {K::sparse_plus, {}},
          {K::sparse_sigmoid, {}},
          {K::squareplus, {}},
          {K::log_sigmoid, {}},
          {K::exponential, {}}};
}

// Value and derivative at x, at a level, in float.
std::pair<double, double> at(const Trial& t, double x, cpu::Level level) {
  const cpu::Level before = cpu::level();
  cpu::set_level(level);
  Trial one = t;
  one.in[0] = filled({19}, x);
  const std::vector<double> dout(19, 1);
  const Outcome o = one.run({ATTN_F32}, &dout);
  cpu::set_level(before);
  for (const double y : o.out[0].x) CHECK(((y == o.out[0].x[0]) || (y != y)));
  return {o.out[0].x[0], o.din[0][0]};
}

}  // namespace

TEST_CASE("activation: every kind without weights, values, levels and gradients") {
  for (const Case& c : plain_cases()) {
    INFO("kind " << static_cast<int>(c.kind));
    Trial t = trial(c.kind, c.constants);
    t.in = {uniform({3, 4, 17}, -4.03, 7.01)};
    t.examine();
  }
}

TEST_CASE(
    "activation: every kind at every level keeps 1e-5 relative or 1e-6 absolute, far out too") {
  std::vector<double> points;
  for (double x = -60; x <= 60; x += 0.37)
    points.push_back(static_cast<double>(static_cast<float>(x)));
  for (const double x : {1e-4, -1e-4, 1e-20, -1e-20})
    points.push_back(static_cast<double>(static_cast<float>(x)));
  const cpu::Level before = cpu::level();
  for (const Case& c : plain_cases()) {
    if (c.kind == K::linear) continue;
    Trial t = trial(c.kind, c.constants);
    t.in = {Values{{static_cast<int64_t>(points.size())}, points}};
    const std::vector<double> dout(points.size(), 1);
    const Outcome exact = t.run({}, &dout);
    for (const cpu::Level level : cpu::available()) {
      cpu::set_level(level);
      const Outcome rough = t.run({ATTN_F32}, &dout);
      INFO("kind " << static_cast<int>(c.kind) << " at " << cpu::name(level));
      double worst = 0, worst_slope = 0;
      for (size_t i = 0; i < points.size(); ++i) {
        const double y = exact.out[0].x[i], d = exact.din[0][i];
        worst = std::max(worst, std::abs(rough.out[0].x[i] - y) / (1e-5 * std::abs(y) + 1e-6));
        worst_slope =
            std::max(worst_slope, std::abs(rough.din[0][i] - d) / (1e-5 * std::abs(d) + 1e-6));
      }
      CHECK(worst <= 1);
      CHECK(worst_slope <= 1);
    }
    cpu::set_level(before);
  }
}

TEST_CASE("activation: derivatives at the kinks") {
  const cpu::Level level = cpu::available()[GENERATE(0u, 1u)];
  const auto slope = [&](const Trial& t, double x) { return at(t, x, level).second; };
  const auto of = [&](K kind, const Reals& constants = {}) {
    Trial t = trial(kind, constants);
    t.in = {filled({1}, 0)};
    return t;
  };
  CHECK(slope(of(K::relu, {kNone, 0, 0}), 0) == 0);
  CHECK(slope(of(K::relu, {6, 0, 0}), 0) == 0);
  CHECK(slope(of(K::relu, {6, 0, 0}), 6) == 0);
  CHECK(slope(of(K::relu, {5, 0, 0}), 5) == 1);
  CHECK(slope(of(K::relu, {kNone, 0.25, 0}), 0) == 0.25);
  CHECK(slope(of(K::relu, {2, 0.25, 0}), 0) == 0);
  CHECK(slope(of(K::relu, {kNone, 0.25, 0.5}), 0.5) == 0);
  CHECK(slope(of(K::relu_k, {1}), 0) == 0);
  CHECK(slope(of(K::elu), 0) == 1);
  CHECK(slope(of(K::selu), 0) == Approx(1.0507009873554805).epsilon(1e-6));
  CHECK(slope(of(K::elu_plus_one), 0) == 1);
  for (const double x : {-3.0, 3.0}) CHECK(slope(of(K::hard_sigmoid), x) == 0);
  CHECK(slope(of(K::hard_swish), 3) == 1);
  CHECK(slope(of(K::hard_swish), -3) == 0);
  for (const double x : {-1.0, 1.0}) CHECK(slope(of(K::hard_tanh), x) == 1);
  for (const double x : {-0.5, 0.5}) {
    CHECK(slope(of(K::hard_shrink), x) == 0);
    CHECK(slope(of(K::soft_shrink), x) == 0);
  }
  CHECK(slope(of(K::softsign), 0) == 1);
  CHECK(slope(of(K::sparse_plus), -1) == 0);
  CHECK(slope(of(K::sparse_plus), 1) == 1);
  for (const double x : {-1.0, 1.0}) CHECK(slope(of(K::sparse_sigmoid), x) == 0);
}

TEST_CASE("activation: gates far to the left give 0, never NaN") {
  for (const cpu::Level level : cpu::available()) {
    for (const Case& c :
         {Case{K::gelu, {}}, Case{K::silu, {}}, Case{K::mish, {}},
          Case{K::saturated_mish, {3, 0.5}}, Case{K::golu, {1, 1, 1}}, Case{K::hard_swish, {}}}) {
      Trial t = trial(c.kind, c.constants);
      t.in = {filled({1}, 0)};
      for (const double x : {-1e4, -1e30, -static_cast<double>(INFINITY)}) {
        INFO("kind " << static_cast<int>(c.kind) << " at " << x << ", " << cpu::name(level));
        const auto [y, d] = at(t, x, level);
        CHECK(std::abs(y) <= 1e-30);
        CHECK(std::abs(d) <= 1e-30);
      }
    }
  }
}

TEST_CASE("activation: kinds with a trainable weight") {
  const K kind = GENERATE(K::xatlu, K::xgelu, K::xsilu);
  Trial t = trial(kind);
  t.in = {uniform({3, 4, 17}, -3, 3), filled(GENERATE(Shape{}, Shape{1}), 0.3)};
  t.examine();
}

TEST_CASE("activation: differentiable_step with one weight, and along an axis") {
  const Shape weight = GENERATE(Shape{}, Shape{1}, Shape{1, 1, 7}, Shape{1, 4, 1}, Shape{7});
  Trial t = trial(K::differentiable_step);
  t.in = {uniform({3, 4, 7}, -2, 2), uniform(weight, 0.5, 2, 2), uniform(weight, -0.5, 0.5, 3)};
  t.examine();
}

TEST_CASE("activation: kinds over an axis") {
  const int64_t axis = GENERATE(-1, -2);
  const Reals adaptive{0.1, 1.0, 0.5, 1e-7, -1.791, 4.917, -2.3, 0.481, -0.037};
  const Reals paper{0.1, 1.0, 0.5, 1e-7, -0.037, 0.481, -2.3, 4.917, -1.791};
  for (const Case& c : {Case{K::softmax, {}}, Case{K::log_softmax, {}}, Case{K::sparsemax, {}},
                        Case{K::adaptive, adaptive}, Case{K::adaptive_paper, paper},
                        Case{K::threshmax, {1e-12}}, Case{K::squash, {1e-3}}}) {
    Trial t = trial(c.kind, c.constants, axis);
    t.in = {uniform({3, 6, 9}, -2, 2)};
    if (c.kind == K::threshmax) t.in.emplace_back(filled({}, 5));
    t.examine();
  }
}

TEST_CASE("activation: squash of zeros; refusals") {
  Trial t = trial(K::squash, {1e-7});
  t.in = {filled({2, 3}, 0)};
  t.difference_tolerance = 1e-3;  // the step is not small beside sqrt(epsilon)
  t.examine();
  t.attrs[1] = Reals{};
  CHECK(t.refusal() == "0 constants are given; this activation has 1");
  t = trial(K::xatlu);
  t.in = {uniform({4})};
  CHECK(t.refusal() == "weight 0 is missing; this activation needs it");
  t.in.emplace_back(uniform({4}));
  CHECK(t.refusal() == "weight 0 has shape (4); expected one element for x (4)");
  t = trial(K::gelu);
  t.in = {uniform({4}), uniform({1})};
  CHECK(t.refusal() == "weight 0 is given; this activation has none");
}
