// SPDX-License-Identifier: Apache-2.0
#include "core/kernels/rotary.hpp"
#include "core/ops/op_test.hpp"

using namespace attn::ops;
using namespace attn::ops::testing;

namespace {

struct Options {
  int64_t scaling = 0;
  double factor = 1, original = 0, attention = 1, fast = 0, slow = 0;
  int64_t truncate = 1;
  Reals short_factor{}, long_factor{};
  Axes sections{};
  int64_t arrangement = 0;
  double theta = 100;
  int64_t dim = 4, offset = 0;
  bool interleaved = false, at_end = false;
};

Trial trial(const Options& o, const std::vector<std::optional<Values>>& in) {
  Trial t{op_rotary_embedding()};
  t.attrs = {o.scaling,  o.factor,       o.original,    o.attention, o.fast,        o.slow,
             o.truncate, o.short_factor, o.long_factor, o.sections,  o.arrangement, o.theta,
             o.dim,      o.offset,       o.interleaved, o.at_end};
  t.in = in;
  return t;
}

Values whole(const Shape& shape, std::vector<double> x) {
  return {shape, std::move(x), ATTN_I64, false};
}
Values constant(Values v) {
  v.gradient = false;
  return v;
}

std::vector<double> result(const Options& o, const std::vector<std::optional<Values>>& in) {
  return trial(o, in).run({}).out[0].x;
}

}  // namespace

TEST_CASE("rotary_embedding: pairs, ends, positions, sections and tables of the caller") {
  const Values x = uniform({2, 3, 5, 8}), each = whole({2, 5}, {0, 0, 1, 2, 3, 7, 8, 9, 0, 4});
  const Values axes =
      whole({2, 2, 5}, {0, 1, 2, 3, 4, 5, 5, 5, 5, 5, 9, 8, 7, 6, 5, 0, 0, 1, 1, 2});
  const Values cos = constant(uniform({2, 5, 3}, -1, 1, 2)),
               sin = constant(uniform({2, 5, 3}, -1, 1, 3));
  const Values rows = constant(uniform({12, 3}, -1, 1, 4));
  const auto absent = std::nullopt;
  for (const bool interleaved : {false, true})
    for (const bool at_end : {false, true}) {
      INFO(interleaved << at_end);
      Options o{.dim = 6, .interleaved = interleaved, .at_end = at_end};
      trial(o, {x}).examine();
      trial(o, {x, each}).examine();
      trial(o, {x, whole({5}, {4, 3, 2, 1, 0})}).examine();
      trial(o, {x, whole({1, 5}, {4, 3, 2, 1, 0})}).examine();
      trial(o, {x, absent, cos, sin}).examine();
      trial(o, {x, each, rows, rows}).examine();
      o.offset = 7;
      trial(o, {x, absent, rows, rows}).examine();
      o.sections = {1, 2};
      for (o.arrangement = 0; o.arrangement < 3; ++o.arrangement) trial(o, {x, axes}).examine();
      // One example for all, and positions further than a table is kept for.
      const Values shared = whole({2, 1, 5}, {0, 1, 2, 3, 4, 9, 8, 7, 6, 90});
      trial(o, {x, shared}).examine();
      CHECK(result(o, {x, shared}) ==
            result(o, {x, whole({2, 2, 5}, {0, 1, 2, 3, 4,  0, 1, 2, 3, 4,  //
                                            9, 8, 7, 6, 90, 9, 8, 7, 6, 90})}));
    }
  // A line of pairs that fills vectors, and one that does not.
  for (const int64_t dim : {32, 64, 90}) {
    const Values wide = uniform({2, 2, 3, 90});
    for (const bool interleaved : {false, true})
      for (const bool at_end : {false, true})
        trial({.dim = dim, .interleaved = interleaved, .at_end = at_end}, {wide}).examine();
  }
  trial({.dim = 0}, {x, each}).examine();
  trial({.dim = 8}, {uniform({2, 3, 0, 8})}).examine();
  // beyond the kept tables
  trial({.dim = 8, .offset = int64_t{3} << 20}, {x}).examine();
}

TEST_CASE("rotary_embedding: interleaved from the start is rope") {
  const Values x = uniform({2, 3, 5, 8});
  Trial rope{op_rope()};
  rope.attrs = {100.0, int64_t{6}, int64_t{3}};
  rope.in = {x};
  CHECK(rope.run({}).out[0].x == result({.dim = 6, .offset = 3, .interleaved = true}, {x}));
}

TEST_CASE("rotary_embedding: the formula of halves, at the end of a head") {
  const Values x{{1, 1, 1, 5}, {9, 1, 2, 3, 4}};
  const auto y = result({.dim = 4, .offset = 6, .at_end = true}, {x});
  CHECK(y[0] == 9);
  CHECK(y[1] == Approx(std::cos(6.0) - 3 * std::sin(6.0)));
  CHECK(y[3] == Approx(std::sin(6.0) + 3 * std::cos(6.0)));
  CHECK(y[2] == Approx(2 * std::cos(0.6) - 4 * std::sin(0.6)));
  CHECK(y[4] == Approx(2 * std::sin(0.6) + 4 * std::cos(0.6)));
}

TEST_CASE("rotary_embedding: each axis turns its pairs") {
  const Values x = uniform({1, 1, 1, 8}), ones = filled({1, 1, 1, 8}, 1);
  const Values at = whole({2, 1, 1}, {3, 5});
  const auto angle = [&](const Options& o, size_t pair) {
    const auto y = result(o, {ones, at});
    return std::atan2(y[pair + 4], y[pair]) - std::atan2(1, 1);
  };
  const auto same = [](double a, double b) { return std::abs(std::sin((a - b) / 2)) < 1e-12; };
  // omega: 1, 0.316, 0.1, 0.0316
  const double w = std::pow(100, -0.25);
  const Options blocks{.sections = {1, 3}, .dim = 8};
  CHECK(same(angle(blocks, 0), 3));
  CHECK(same(angle(blocks, 1), 5 * w));
  CHECK(same(angle(blocks, 3), 5 * w * w * w));
  const Options turns{.sections = {3, 1}, .arrangement = 1, .dim = 8};
  CHECK(same(angle(turns, 0), 3));
  CHECK(same(angle(turns, 1), 5 * w));
  CHECK(same(angle(turns, 2), 3 * w * w));
  CHECK(same(angle(turns, 3), 3 * w * w * w));  // the section of its axis is full
  const Options axial{.sections = {2, 2}, .arrangement = 2, .dim = 8};
  CHECK(same(angle(axial, 0), 3));
  CHECK(same(angle(axial, 1), 3 * 0.1));
  CHECK(same(angle(axial, 2), 5));
  CHECK(same(angle(axial, 3), 5 * 0.1));
  // Equal positions on all axes are positions.
  const Values equal = whole({2, 1, 1}, {5, 5});
  CHECK(result(blocks, {x, equal}) == result({.dim = 8, .offset = 5}, {x}));
}

TEST_CASE("rotary_embedding: scaled frequencies") {
  constexpr double kPi = 3.141592653589793;
  const auto omega = [](const attn::kernels::RopeRule& rule, int64_t positions) {
    std::vector<double> w(static_cast<size_t>(rule.r / 2));
    attn::kernels::rope_frequencies(rule.of_call(positions), w.data());
    return w;
  };
  using S = attn::RopeScaling;
  const double w = 0.1;  // pair 1 of 4 components, theta 100
  CHECK(omega({.theta = 100, .r = 4, .scaling = S::linear, .factor = 4}, 9)[1] == Approx(w / 4));
  const attn::kernels::RopeRule dynamic{
      .theta = 100, .r = 4, .scaling = S::dynamic, .factor = 2, .original = 10};
  CHECK(omega(dynamic, 10)[1] == Approx(w));
  CHECK(omega(dynamic, 20)[1] == Approx(std::pow(100 * std::pow(2 * 2 - 1, 2), -0.5)));
  CHECK(dynamic.repeats(10));
  CHECK_FALSE(dynamic.repeats(11));
  const double a[] = {1, 2}, b[] = {3, 5};
  const attn::kernels::RopeRule longrope{.theta = 100,
                                         .r = 4,
                                         .scaling = S::longrope,
                                         .original = 10,
                                         .divisors = a,
                                         .long_divisors = b};
  CHECK(omega(longrope, 10)[1] == Approx(w / 2));
  CHECK(omega(longrope, 11)[1] == Approx(w / 5));
  // 2 pi / w tokens make a turn: 200 are 3.18 turns of pair 1.
  const attn::kernels::RopeRule llama3{.theta = 100,
                                       .r = 4,
                                       .scaling = S::llama3,
                                       .factor = 8,
                                       .original = 200,
                                       .fast = 4,
                                       .slow = 1};
  const double share = (200 * w / (2 * kPi) - 1) / 3;
  CHECK(omega(llama3, 5)[0] == Approx(1));
  CHECK(omega(llama3, 5)[1] == Approx(w * share + w / 8 * (1 - share)));
  const attn::kernels::RopeRule yarn{.theta = 100,
                                     .r = 4,
                                     .scaling = S::yarn,
                                     .factor = 8,
                                     .original = 200,
                                     .fast = 8,
                                     .slow = 1,
                                     .truncate = false};
  const double low = 4 * std::log(200 / (8 * 2 * kPi)) / (2 * std::log(100)),
               high = 4 * std::log(200 / (2 * kPi)) / (2 * std::log(100)),
               ramp = (1 - low) / (high - low);
  REQUIRE((ramp > 0 && ramp < 1));
  CHECK(omega(yarn, 5)[1] == Approx(w * (1 - ramp) + w / 8 * ramp));
  // Attention factors multiply cos and sin.
  const Values x = uniform({1, 1, 2, 4});
  std::vector<double> twice = result({.attention = 2, .offset = 3}, {x});
  const std::vector<double> once = result({.offset = 3}, {x});
  for (size_t i = 0; i < once.size(); ++i) CHECK(twice[i] == Approx(2 * once[i]));
}

TEST_CASE("rotary_embedding: by the largest position of a call") {
  const Values x = uniform({2, 1, 3, 8});
  const Options o{.scaling = 2, .factor = 2, .original = 4, .dim = 8};
  const auto at = [&](std::vector<double> positions) {
    return result(o, {x, whole({2, 3}, std::move(positions))});
  };
  CHECK(at({0, 1, 2, 1, 2, 3}) == result({.dim = 8}, {x, whole({2, 3}, {0, 1, 2, 1, 2, 3})}));
  const double theta = 100 * std::pow(2.0 * 9 / 4 - 1, 8.0 / 6);
  const auto far = at({0, 1, 2, 1, 2, 8});
  const auto expected = result({.theta = theta, .dim = 8}, {x, whole({2, 3}, {0, 1, 2, 1, 2, 8})});
  for (size_t i = 0; i < far.size(); ++i) CHECK(far[i] == Approx(expected[i]));
  trial(o, {x, whole({2, 3}, {0, 1, 2, 1, 2, 8})}).examine();
}

TEST_CASE("rotary_embedding: refusals") {
  const Values x = uniform({2, 3, 5, 8});
  const auto refused = [&](const Options& o, const std::vector<std::optional<Values>>& in) {
    return trial(o, in).refusal();
  };
  const auto absent = std::nullopt;
  using Catch::Matchers::Contains;
  CHECK_THAT(refused({.dim = 3}, {x}), Contains("rope_dim is 3"));
  CHECK_THAT(refused({.theta = 0}, {x}), Contains("theta is 0"));
  CHECK_THAT(refused({.offset = -1}, {x}), Contains("offset is -1"));
  CHECK_THAT(refused({.scaling = 6}, {x}), Contains("scaling number 6"));
  CHECK_THAT(refused({.scaling = 1, .factor = 0}, {x}), Contains("factor is 0"));
  CHECK_THAT(refused({.scaling = 3}, {x}), Contains("original length is 0"));
  CHECK_THAT(refused({.scaling = 4, .original = 2, .short_factor = {1}}, {x}),
             Contains("short_factor has 1 and long_factor 0 numbers; expected 2"));
  CHECK_THAT(refused({.sections = {1, 2}}, {x}), Contains("3 pairs together; expected 2"));
  CHECK_THAT(refused({}, {x, whole({3}, {0, 1, 2})}), Contains("positions have shape (3)"));
  CHECK_THAT(refused({}, {x, uniform({5})}), Contains("int32 or int64"));
  CHECK_THAT(refused({}, {x, whole({5}, {0, 1, 2, 3, -4})}), Contains("position -4"));
  CHECK_THAT(refused({}, {x, absent, uniform({5, 2})}), Contains("both or none"));
  CHECK_THAT(refused({}, {x, absent, uniform({5, 3}), uniform({5, 3})}),
             Contains("(positions, 2)"));
  CHECK_THAT(refused({.offset = 1}, {x, absent, uniform({5, 2}), uniform({5, 2})}),
             Contains("positions 1 to 5 lie outside"));
  CHECK_THAT(refused({}, {x, whole({5}, {0, 1, 2, 3, 5}), uniform({5, 2}), uniform({5, 2})}),
             Contains("position 5 is out of range; expected 0 to 4"));
}
