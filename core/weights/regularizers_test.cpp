// SPDX-License-Identifier: Apache-2.0
#include "core/weights/regularizers.hpp"

#include <catch2/catch.hpp>
#include <cmath>
#include <limits>
#include <vector>

#include "core/error/error.hpp"
#include "core/weights/random.hpp"

using namespace attn;
using namespace attn::weights;
using schema::OrthogonalMode;
using schema::RegularizerKind;
using schema::RegularizerSpec;

namespace {

RegularizerSpec spec_of(RegularizerKind kind) {
  RegularizerSpec s;
  s.kind = kind;
  return s;
}

}  // namespace

TEST_CASE("regularizers: values") {
  const Array x = Array::from<double>({1, -2, 0, 3}, {2, 2});
  RegularizerSpec s = spec_of(RegularizerKind::kL1);
  CHECK(penalty(s, x, "w") == Approx(0.06).epsilon(1e-15));
  s.kind = RegularizerKind::kL2;
  CHECK(penalty(s, x, "w") == Approx(0.14).epsilon(1e-15));
  s.kind = RegularizerKind::kL1L2;
  CHECK(penalty(s, x, "w") == Approx(0.2).epsilon(1e-15));
  CHECK(penalty(spec_of(RegularizerKind::kNone), x, "w") == 0.0);
  // A scalar weight of 0.8 under L2(0.1).
  s = spec_of(RegularizerKind::kL2);
  s.l2 = 0.1;
  CHECK(penalty(s, Array::from<double>({0.8}, {}), "w") == Approx(0.064).epsilon(1e-15));
  CHECK(penalty(s, Array::from<float>({0.8f}, {}), "w") == Approx(0.064).epsilon(1e-7));
  CHECK(penalty(s, Array(ATTN_F32, {0, 4}), "w") == 0.0);
}

TEST_CASE("regularizers: orthogonal value by rows and columns") {
  // Rows (3, 4) and (1, 0): cosine 0.6. Columns (3, 1) and (4, 0): cosine 3 / sqrt 10.
  const Array x = Array::from<double>({3, 4, 1, 0}, {2, 2});
  RegularizerSpec s = spec_of(RegularizerKind::kOrthogonal);
  s.factor = 0.5;
  // 0.5 * 0.5 * (0.6 + 0.6) / 1
  CHECK(penalty(s, x, "w") == Approx(0.3).epsilon(1e-15));
  s.mode = OrthogonalMode::kColumns;
  CHECK(penalty(s, x, "w") == Approx(0.5 * 3 / std::sqrt(10.0)).epsilon(1e-15));
  // Three rows: three pairs with cosines 1, 0, 0.
  s.mode = OrthogonalMode::kRows;
  const Array y = Array::from<double>({2, 0, -5, 0, 0, 1}, {3, 2});
  CHECK(penalty(s, y, "w") == Approx(0.5 / 3).epsilon(1e-15));
  CHECK(penalty(s, Array::from<double>({1, 2, 3}, {1, 3}), "w") == 0.0);
  CHECK(penalty(s, Array(ATTN_F64, {3, 3}), "w") == 0.0);
}

TEST_CASE("regularizers: gradients are those of central differences") {
  // Error of a central difference with step h: h^2 f''' / 6 + eps f / h, about 1e-10 for h = 1e-5 and values
  // of order 1; 1e-8 leaves a factor of 100. No |x| and no cosine of the draw is within h of 0.
  constexpr double kStep = 1e-5;
  RandomStream random(12, 0);
  std::vector<double> values(20);
  for (double& v : values) v = random.normal();
  for (const RegularizerKind kind :
       {RegularizerKind::kNone, RegularizerKind::kL1, RegularizerKind::kL2, RegularizerKind::kL1L2,
        RegularizerKind::kOrthogonal}) {
    for (const OrthogonalMode mode : {OrthogonalMode::kRows, OrthogonalMode::kColumns}) {
      CAPTURE(static_cast<int>(kind));
      RegularizerSpec s = spec_of(kind);
      s.l1 = 0.3;
      s.l2 = 0.2;
      s.factor = 0.7;
      s.mode = mode;
      std::vector<double> gradient(20, 1.0);
      add_penalty_gradient(s, ConstView(values.data(), {5, 4}), 0.5, View(gradient.data(), {5, 4}),
                           "w");
      double worst = 0.0;
      for (size_t i = 0; i < values.size(); ++i) {
        std::vector<double> moved = values;
        moved[i] += kStep;
        const double up = penalty(s, ConstView(moved.data(), {5, 4}), "w");
        moved[i] -= 2 * kStep;
        const double down = penalty(s, ConstView(moved.data(), {5, 4}), "w");
        worst = std::max(worst, std::fabs(gradient[i] - (1.0 + 0.5 * (up - down) / (2 * kStep))));
      }
      CHECK(worst < 1e-8);
    }
  }
}

TEST_CASE("regularizers: gradient at 0, in float32, and of strided weights") {
  RegularizerSpec s = spec_of(RegularizerKind::kL1L2);
  s.l1 = 1.0;
  s.l2 = 10.0;
  const std::vector<float> x{0, 1, -2, 0.5f};
  std::vector<float> gradient(4, 0.0f);
  add_penalty_gradient(s, ConstView(x.data(), {4}), 1.0, View(gradient.data(), {4}), "w");
  CHECK(gradient == std::vector<float>{0, 21, -41, 11});
  const ConstView transposed(x.data(), {2, 2}, {1, 2});
  std::vector<float> turned(4, 0.0f);
  add_penalty_gradient(s, transposed, 1.0, View(turned.data(), {2, 2}), "w");
  CHECK(turned == std::vector<float>{0, -41, 21, 11});
  // A row of zeros has no direction to turn.
  s = spec_of(RegularizerKind::kOrthogonal);
  std::vector<double> zeros{0, 0, 1, 1};
  std::vector<double> still(4, 0.0);
  add_penalty_gradient(s, ConstView(zeros.data(), {2, 2}), 1.0, View(still.data(), {2, 2}), "w");
  CHECK(still == std::vector<double>(4, 0.0));
}

TEST_CASE("regularizers: a negative factor rewards, as the slope of a threshold does") {
  RegularizerSpec s = spec_of(RegularizerKind::kL2);
  s.l2 = -1e-4;
  std::vector<double> slope{10.0}, gradient{0.0};
  CHECK(penalty(s, ConstView(slope.data(), {1}), "slope") == Approx(-0.01));
  add_penalty_gradient(s, ConstView(slope.data(), {1}), 1.0, View(gradient.data(), {1}), "slope");
  CHECK(gradient[0] == Approx(-0.002));
}

TEST_CASE("regularizers: what cannot be is refused") {
  const Array x(ATTN_F32, {2, 3});
  RegularizerSpec s = spec_of(RegularizerKind::kL1);
  s.l1 = std::nan("");
  CHECK_THROWS_AS(penalty(s, x, "w"), InvalidArgument);
  s.l1 = std::numeric_limits<double>::infinity();
  CHECK_THROWS_AS(penalty(s, x, "w"), InvalidArgument);
  s = spec_of(RegularizerKind::kL2);
  s.l1 = -1.0;  // not read by this kind
  CHECK(penalty(s, x, "w") == 0.0);
  CHECK_THROWS_AS(penalty(s, Array(ATTN_I32, {2}), "w"), InvalidArgument);
  CHECK_THROWS_AS(penalty(spec_of(RegularizerKind::kOrthogonal), Array(ATTN_F32, {2, 3, 4}), "w"),
                  InvalidArgument);
  Array wrong(ATTN_F32, {3, 2});
  CHECK_THROWS_AS(add_penalty_gradient(s, x, 1.0, wrong.view(), "w"), InvalidArgument);
  Array half(ATTN_F16, {2, 3});
  CHECK_THROWS_AS(add_penalty_gradient(s, x, 1.0, half.view(), "w"), InvalidArgument);
}
