// SPDX-License-Identifier: Apache-2.0
#include "core/kinds/kinds.hpp"
#include "core/ops/op_test.hpp"

using namespace attn;
using namespace attn::ops;
using namespace attn::ops::testing;

namespace {

Trial trial(NormKind kind, const Axes& axes, double epsilon, double constant) {
  Trial t{op_norm()};
  t.attrs = {static_cast<int64_t>(kind), axes, epsilon, constant};
  return t;
}

// Elements along the axes.
int64_t along(const Shape& shape, const Axes& axes) {
  int64_t n = 1;
  for (const int64_t a : axes)
    n *= shape[static_cast<size_t>(a + static_cast<int64_t>(shape.size()))];
  return n;
}

}  // namespace

TEST_CASE("norm: layer and rms kinds, with and without weights, any axes") {
  const NormKind kind = GENERATE(NormKind::layer, NormKind::rms, NormKind::zero_centered_rms);
  const Shape shape = GENERATE(Shape{2, 3, 17}, Shape{5, 4, 3, 8});
  const Axes axes = GENERATE(Axes{-1}, Axes{-2}, Axes{-2, -1}, Axes{-3, -1}, Axes{-3});
  const bool weights = GENERATE(true, false);
  Trial t = trial(kind, axes, 1e-3, 0);
  t.in = {uniform(shape)};
  if (weights) {
    t.in.push_back(uniform({along(shape, axes)}, 0.5, 1.5, 2));
    if (kind == NormKind::layer) t.in.push_back(uniform({along(shape, axes)}, -1, 1, 3));
  }
  t.examine();
}

TEST_CASE("norm: many and long rows") {
  const NormKind kind = GENERATE(NormKind::layer, NormKind::zero_centered_rms);
  const Shape shape = GENERATE(Shape{3000, 16}, Shape{7, 1111});
  Trial t = trial(kind, {-1}, 1e-6, 0);
  t.in = {uniform(shape), uniform({shape[1]}, 0.5, 1.5, 2)};
  t.examine();
}

TEST_CASE("norm: energy_layer") {
  Trial t = trial(NormKind::energy_layer, {-1}, 1e-3, 0);
  t.in = {uniform({2, 3, 9}), uniform({1}, 0.5, 1.5, 2), uniform({9}, -1, 1, 3)};
  t.examine();
}

TEST_CASE("norm: band kinds") {
  const NormKind kind = GENERATE(NormKind::band_rms, NormKind::zero_centered_band_rms);
  const Axes axes = GENERATE(Axes{-1}, Axes{-2}, Axes{-3, -1});
  const double eps = GENERATE(1e-6, 2.0);  // 2: at the floor, where r does not move
  Trial t = trial(kind, axes, eps, 0.3);
  t.in = {uniform({4, 5, 6}), filled({}, 0.2)};
  t.examine();
}

TEST_CASE("norm: adaptive band kinds") {
  const NormKind kind =
      GENERATE(NormKind::adaptive_band_rms, NormKind::zero_centered_adaptive_band_rms);
  struct Case {
    Shape x;
    Axes axes;
    int64_t width;
  };
  const Case c = GENERATE(Case{{3, 4, 5}, {-1}, 5}, Case{{3, 4, 5}, {-2}, 4}, Case{{3, 5}, {-1}, 5},
                          Case{{3, 2, 4, 5}, {-1}, 5}, Case{{3, 2, 4, 5}, {-2, -1}, 20},
                          Case{{3, 4, 5}, {-2, -1}, 1});
  Trial t = trial(kind, c.axes, 1e-6, 0.3);
  t.in = {uniform(c.x, -2, 3), uniform({1, c.width}, -1, 1, 2), uniform({c.width}, -0.3, 0.3, 3)};
  t.examine();
}

TEST_CASE("norm: logit kinds, and rows too short for their epsilon") {
  const NormKind kind = GENERATE(NormKind::logit, NormKind::max_logit, NormKind::band_logit);
  const double eps = GENERATE(1e-6, 50.0);
  Trial t = trial(kind, {-1}, eps, kind == NormKind::logit ? 0.4 : 0.2);
  t.in = {uniform({3, 4, 7})};
  if (kind == NormKind::band_logit) {
    t.in.push_back(filled({1}, 1.25));
    t.in.push_back(filled({1}, 0.3));
  }
  t.examine();
}

TEST_CASE("norm: band_logit over another axis") {
  const int64_t axis = GENERATE(-2, -3);
  Trial t = trial(NormKind::band_logit, {axis}, 1e-3, 0.4);
  t.in = {uniform({3, 4, 7}, -1, 2), uniform({7}, 0.1, 0.4, 2), uniform({7}, -0.1, 0.1, 3)};
  t.examine();
}

TEST_CASE("norm: global_response") {
  const Shape shape = GENERATE(Shape{3, 5}, Shape{2, 4, 5}, Shape{2, 3, 4, 5});
  const bool beta = GENERATE(true, false);
  Trial t = trial(NormKind::global_response, {-1}, 1e-3, 0);
  Shape weight(shape.size(), 1);
  weight.back() = 5;
  t.in = {uniform(shape), uniform(weight, -1, 1, 2)};
  if (beta) t.in.push_back(uniform(weight, -1, 1, 3));
  t.examine();
}

TEST_CASE("norm: dynamic_tanh") {
  const Axes axes = GENERATE(Axes{-1}, Axes{-2}, Axes{-2, -1});
  const Shape shape{3, 4, 6};
  Trial t = trial(NormKind::dynamic_tanh, axes, 1e-6, 0);
  t.in = {uniform(shape, -3, 3), uniform({along(shape, axes)}, 0.5, 1.5, 2),
          uniform({along(shape, axes)}, -1, 1, 3), filled({}, 0.7)};
  t.examine();
}

TEST_CASE("norm: batch kinds, with stored and with the batch's statistics") {
  const NormKind kind = GENERATE(NormKind::batch, NormKind::bias_free_batch);
  const int64_t axis = GENERATE(-1, -2, -3);
  const bool training = GENERATE(false, true);
  const Shape shape{4, 5, 6};
  const int64_t n = along(shape, {axis});
  Trial t = trial(kind, {axis}, 1e-3, 0.9);
  t.training = training;
  t.wanted = 5;
  t.in = {uniform(shape, -1, 3), uniform({n}, 0.5, 1.5, 2), std::nullopt, std::nullopt,
          uniform({n}, 0.5, 2, 5)};
  if (kind == NormKind::batch) {
    t.in[2] = uniform({n}, -1, 1, 3);
    t.in[3] = uniform({n}, -1, 1, 4);
    t.in[3]->gradient = false;  // a constant
    t.wanted = 7;
  }
  t.examine();
  if (kind != NormKind::batch) return;
  t.in[1] = std::nullopt;
  t.in[2] = std::nullopt;
  t.examine();
}

TEST_CASE("norm: batch statistics move once, by the population variance") {
  Trial t = trial(NormKind::batch, {-1}, 1e-3, 0.75);
  t.training = true;
  t.wanted = 7;
  t.in = {Values{{4, 1}, {1, 2, 3, 6}}, std::nullopt, std::nullopt, filled({1}, 10),
          filled({1}, 2)};
  const Outcome o = t.run({});
  CHECK(o.out[1].x[0] == Approx(0.75 * 10 + 0.25 * 3));
  CHECK(o.out[2].x[0] == Approx(0.75 * 2 + 0.25 * 3.5));
  CHECK(o.out[0].x[0] == Approx((1 - 3) / std::sqrt(3.5 + 1e-3)));
  t.training = false;
  const Outcome stored = t.run({});
  CHECK(stored.out[0].x[0] == Approx((1 - 10) / std::sqrt(2 + 1e-3)));
  CHECK(stored.out[1].x[0] == 10);
  CHECK(stored.out[2].x[0] == 2);
}

TEST_CASE("norm: large values, tiny spread, no elements") {
  Trial t = trial(NormKind::layer, {-1}, 1e-6, 0);
  Values x = uniform({4, 40}, -1, 1);
  for (double& v : x.x) v = static_cast<double>(static_cast<float>(1000 + v));
  t.in = {x};
  const Outcome exact = t.run({}), rough = t.run({ATTN_F32});
  // 1000 in float has steps of 6e-5; two passes keep the error of the spread at that
  CHECK(Trial::distance(exact.out[0].x, rough.out[0].x) < 1e-4);
  t.in = {uniform({0, 40})};
  t.examine();
  t.in = {uniform({3, 0})};
  t.examine();
}

TEST_CASE("norm: refusals") {
  Trial t = trial(NormKind::layer, {-1}, 1e-6, 0);
  t.in = {uniform({2, 8}), uniform({7})};
  CHECK(t.refusal() == "weight 0 has shape (7); expected 8 elements for x (2, 8)");
  t.attrs[1] = Axes{-3};
  CHECK(t.refusal() == "axis -3 is out of range for rank 2; expected -2..1");
  t = trial(NormKind::band_rms, {-1}, 1e-6, 0.1);
  t.in = {uniform({2, 8})};
  CHECK(t.refusal() == "weight 0 is missing; this norm needs it");
  t = trial(NormKind::max_logit, {-2, -1}, 1e-6, 0);
  t.in = {uniform({2, 8})};
  CHECK(t.refusal() == "2 axes are given; this norm takes one");
  t = trial(NormKind::adaptive_band_rms, {-2}, 1e-6, 0.1);
  t.in = {uniform({2, 8})};
  CHECK(t.refusal() == "axis 0 is the batch and cannot be normalised by this norm");
  t = trial(NormKind::none, {-1}, 1e-6, 0.1);
  t.in = {uniform({2, 8})};
  CHECK(t.refusal() == "norm number 0 is not known");
}
