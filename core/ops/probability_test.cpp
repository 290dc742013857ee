// SPDX-License-Identifier: Apache-2.0
#include "core/kinds/kinds.hpp"
#include "core/ops/op_test.hpp"

using namespace attn;
using namespace attn::ops;
using namespace attn::ops::testing;

namespace {

const Reals kPolynomial{-1.791, 4.917, -2.3, 0.481, -0.037};
const Reals kPaperCoefficients{-0.037, 0.481, -2.3, 4.917, -1.791};

Trial trial(ProbabilityKind kind, const Axes& axes, bool zero_rows = false) {
  Trial t{op_probability()};
  t.attrs = {static_cast<int64_t>(kind),
             axes,
             is_adaptive(kind) ? 1e-7 : 1e-12,
             0.1,
             1.0,
             0.5,
             kind == ProbabilityKind::adaptive_paper ? kPaperCoefficients : kPolynomial,
             int64_t{zero_rows}};
  return t;
}

void add_slope(Trial& t) {
  if (std::get<int64_t>(t.attrs[0]) == static_cast<int64_t>(ProbabilityKind::threshmax))
    t.in.emplace_back(filled({1}, 6));
  else
    t.in.emplace_back(std::nullopt);
}

ProbabilityKind every_kind() {
  return static_cast<ProbabilityKind>(
      GENERATE(Catch::Generators::range(int64_t{0}, kProbabilityKinds)));
}

}  // namespace

TEST_CASE("probability: every kind, every axis, no mask") {
  const ProbabilityKind kind = every_kind();
  const Axes axes = GENERATE(Axes{-1}, Axes{-2}, Axes{-3}, Axes{0});
  Trial t = trial(kind, axes);
  t.in = {uniform({3, 2, 4, 19}, -2, 2)};
  add_slope(t);
  t.examine();
}

TEST_CASE("probability: softmax over several axes; other ranks; one key; no keys") {
  Trial t = trial(ProbabilityKind::softmax, {-2, -1});
  t.in = {uniform({3, 2, 4, 9}, -3, 3)};
  t.examine();
  t.attrs[1] = Axes{-3, -1};
  t.examine();
  t.attrs[1] = Axes{-1};
  const Shape shape = GENERATE(Shape{7}, Shape{3, 7}, Shape{2, 3, 2, 2, 7}, Shape{3, 1},
                               Shape{3, 0}, Shape{0, 3}, Shape{40, 700});
  t.in = {uniform(shape, -3, 3)};
  t.examine();
}

TEST_CASE("probability: adaptive on both sides of its threshold and where it saturates") {
  // spread 0.05: nearly uniform, entropy ln 19 = 2.94, lowest temperature; 20: one key, entropy below 0.5
  const double spread = GENERATE(0.05, 2.0, 4.0, 20.0);
  const ProbabilityKind form = GENERATE(ProbabilityKind::adaptive, ProbabilityKind::adaptive_paper);
  Trial t = trial(form, {-1});
  t.in = {uniform({4, 3, 19}, -spread, spread)};
  t.examine();
}

TEST_CASE("probability: adaptive in its paper's form multiplies scores by max(1, polynomial)") {
  // Velickovic et al. 2024, figure 5. Rows of entropy 0, ln 2, about 1.3, ln 4 = 1.386, and ln 500, where the
  // polynomial is below 1.
  const auto row = [](std::vector<double> z) {
    Trial t = trial(ProbabilityKind::adaptive_paper, {-1});
    t.in = {Values{{static_cast<int64_t>(z.size())}, z}};
    return t.run({}).out[0].x;
  };
  const auto times = [](std::vector<double> z, double beta) {
    double sum = 0;
    for (double& x : z) sum += x = std::exp(beta * x);
    for (double& x : z) x /= sum;
    return z;
  };
  const auto same = [](const std::vector<double>& a, const std::vector<double>& b) {
    REQUIRE(a.size() == b.size());
    for (size_t i = 0; i < a.size(); ++i) CHECK(a[i] == Approx(b[i]).epsilon(1e-12));
  };
  same(row({0, -9, -9}), times({0, -9, -9}, 1));
  same(row({0, -0.1}), times({0, -0.1}, 1));  // polynomial(0.69) = 0.66
  const std::vector<double> z{0, -0.5, -0.25, -1};
  double entropy = 0, beta = 0;
  for (const double p : times(z, 1)) entropy -= p * std::log(p);
  for (const double a : kPaperCoefficients) beta = beta * entropy + a;
  CHECK(beta > 1.5);
  same(row(z), times(z, beta));
  std::vector<double> many(500, 0.0);
  many[7] = 0.1;
  same(row(many), times(many, 1));
}

TEST_CASE("probability: masks of every rank and kind") {
  const ProbabilityKind kind = every_kind();
  const Shape mask = GENERATE(Shape{6}, Shape{2, 6}, Shape{1, 6}, Shape{2, 5, 6}, Shape{1, 5, 6},
                              Shape{2, 3, 5, 6}, Shape{1, 3, 1, 6});
  const bool zero_rows = GENERATE(false, true);
  Trial t = trial(kind, {-1}, zero_rows);
  t.in = {uniform({2, 3, 5, 6}, -2, 2)};
  add_slope(t);
  Values keep = uniform(mask, -1, 1, 5);
  for (double& v : keep.x) v = v > -0.2 ? 1 : 0;
  std::fill_n(keep.x.begin(), 6, 0.0);  // a row that keeps nothing
  keep.dtype = ATTN_BOOL;
  t.in.emplace_back(keep);
  t.examine();

  // A masked key has weight 0, and the others are those of a row without it (kinds that do not count N).
  const Outcome o = t.run({});
  const bool unmasked = !zero_rows;
  double first = 0;
  for (size_t i = 0; i < 6; ++i) first += o.out[0].x[i];
  CHECK(first == Approx(unmasked ? 1 : 0).margin(1e-12));
}

TEST_CASE("probability: a masked key does not exist for softmax and sparsemax") {
  const ProbabilityKind kind = GENERATE(ProbabilityKind::softmax, ProbabilityKind::sparsemax);
  Trial with = trial(kind, {-1}), without = trial(kind, {-1});
  with.in = {Values{{1, 1, 1, 4}, {0.3, 1e6, -0.2, 0.9}}, std::nullopt,
             Values{{4}, {1, 0, 1, 1}, ATTN_U8}};
  without.in = {Values{{1, 1, 1, 3}, {0.3, -0.2, 0.9}}};
  const auto a = with.run({}).out[0].x, b = without.run({}).out[0].x;
  CHECK(a[1] == 0);
  CHECK(a[0] == Approx(b[0]));
  CHECK(a[2] == Approx(b[1]));
  CHECK(a[3] == Approx(b[2]));
}

TEST_CASE("probability, attention: a floating mask that looks like an additive one is refused") {
  Trial t = trial(ProbabilityKind::softmax, {-1}), whole(op_attention());
  t.in = {uniform({2, 3, 5, 6}, -2, 2), std::nullopt, std::nullopt};
  whole.in = {uniform({2, 3, 5, 4}, -2, 2), uniform({2, 3, 6, 4}, -2, 2, 2),
              uniform({2, 3, 6, 4}, -2, 2, 3), std::nullopt};
  const auto refusals = [&](const std::vector<double>& values, int32_t dtype) {
    t.in[2] = whole.in[3] = Values{{6}, values, dtype};
    return std::pair(t.refusal(), whole.refusal());
  };
  for (const int32_t dtype : {ATTN_F32, ATTN_F64})
    for (const std::vector<double>& values : {std::vector<double>{0, 0, -INFINITY, 0, 0, 0},
                                              {-1e9, -1e9, -1e9, -1e9, -1e9, -1e9},
                                              {NAN, NAN, -1, NAN, 0, -0.0}}) {
      const auto [alone, inside] = refusals(values, dtype);
      CHECK_THAT(alone, Catch::Matchers::Contains("additive"));
      CHECK_THAT(inside, Catch::Matchers::Contains("additive"));
    }
  const std::pair<std::string, std::string> fine;
  CHECK(refusals({0, 0, -INFINITY, 0, 0, 1e-30}, ATTN_F32) == fine);
  CHECK(refusals({0, 0, -0.0, NAN, 0, 0}, ATTN_F64) == fine);
  CHECK(refusals({0, 0, -1, 0, 0, -1}, ATTN_I32) == fine);
}

TEST_CASE("probability: rows of -infinity count as zeros, also where kept") {
  const ProbabilityKind kind = every_kind();
  Trial t = trial(kind, {-1});
  t.in = {Values{{1, 1, 2, 3}, {-INFINITY, -INFINITY, -INFINITY, -INFINITY, -INFINITY, 1}}};
  add_slope(t);
  t.in.emplace_back(Values{{1, 2, 3}, {1, 1, 1, 1, 1, 0}, ATTN_BOOL});
  for (const int32_t dtype : {ATTN_F64, ATTN_F32}) {
    const auto w = t.run({dtype}).out[0].x;
    for (const size_t i : {0u, 1u, 2u}) CHECK(w[i] == Approx(1.0 / 3));
    CHECK(w[3] == Approx(0.5));
    CHECK(w[5] == 0);
  }
}

TEST_CASE("probability: mask over another axis; refusals") {
  Trial t = trial(ProbabilityKind::softmax, {-2});
  t.in = {uniform({2, 1, 4, 3}), std::nullopt, Values{{1, 4, 1}, {1, 0, 1, 1}, ATTN_I32}};
  t.examine();
  t.in[2] = Values{{2, 3}, {1, 0, 1, 1, 1, 1}, ATTN_I32};
  CHECK(t.refusal() ==
        "mask (2, 3) has extent 1 along the normalised axis of the scores (2, 1, 4, 3): it cannot "
        "mask anything; expected the extent of that axis");
  t.attrs[1] = Axes{-1};
  t.in[2] = Values{{4, 3}, std::vector<double>(12, 1), ATTN_I32};
  CHECK(t.refusal() ==
        "mask (4, 3) does not broadcast to the scores (2, 1, 4, 3); expected (K), (B, K), "
        "(B, Q, K) or (B, H, Q, K)");
  t.in[2] = std::nullopt;
  t.attrs[0] = static_cast<int64_t>(ProbabilityKind::threshmax);
  CHECK(t.refusal() == "slope is missing; threshmax needs it");
  t.attrs[0] = static_cast<int64_t>(ProbabilityKind::sparsemax);
  t.attrs[1] = Axes{-2, -1};
  CHECK(t.refusal() == "2 axes are given; only softmax takes several");
}
