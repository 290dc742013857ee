// SPDX-License-Identifier: Apache-2.0
#include <complex>

#include "core/cpu/testing_levels.hpp"
#include "core/ops/op_test.hpp"

using namespace attn;
using namespace attn::ops;
using namespace attn::ops::testing;

namespace {

using Wide = std::complex<long double>;

// w_n^k for k < n.
std::vector<Wide> roots(int64_t n) {
  constexpr long double kTwoPi = 6.283185307179586476925286766559L;
  std::vector<Wide> w;
  for (int64_t k = 0; k < n; ++k) {
    const long double angle = kTwoPi * static_cast<long double>(k) / static_cast<long double>(n);
    w.emplace_back(std::cos(angle), -std::sin(angle));
  }
  return w;
}

// The definition, along one axis after the other.
std::vector<Wide> definition(std::vector<Wide> x, const Shape& shape, const Axes& axes,
                             bool inverse) {
  for (const int64_t axis : axes) {
    const auto a = static_cast<size_t>(axis < 0 ? axis + static_cast<int64_t>(shape.size()) : axis);
    const auto n = static_cast<size_t>(shape[a]);
    size_t inner = 1;
    for (size_t d = a + 1; d < shape.size(); ++d) inner *= static_cast<size_t>(shape[d]);
    const std::vector<Wide> w = roots(shape[a]);
    std::vector<Wide> line(n);
    for (size_t first = 0; first < x.size(); ++first) {
      if (first / inner % n != 0) continue;
      for (size_t k = 0; k < n; ++k) {
        Wide sum = 0;
        for (size_t i = 0; i < n; ++i) {
          const Wide r = w[i * k % n];
          sum += x[first + i * inner] * (inverse ? std::conj(r) : r);
        }
        line[k] = sum;
      }
      for (size_t k = 0; k < n; ++k) x[first + k * inner] = line[k];
    }
  }
  return x;
}

Trial trial(const Values& re, const std::optional<Values>& im, const Axes& axes,
            bool inverse = false, double factor = 1) {
  Trial t{op_fft()};
  t.attrs = {axes, inverse, factor};
  t.in = {re, im};
  t.wanted = 3;
  return t;
}

std::vector<Wide> joined(const std::vector<double>& re, const std::vector<double>& im) {
  std::vector<Wide> z;
  for (size_t i = 0; i < re.size(); ++i) z.emplace_back(re[i], im.empty() ? 0 : im[i]);
  return z;
}

// Largest error by the root mean square of what is expected.
double error(const Outcome& o, const std::vector<Wide>& expected, double factor) {
  double worst = 0, square = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    const Wide e = expected[i] * static_cast<long double>(factor);
    worst = std::max(worst, static_cast<double>(std::abs(Wide(o.out[0].x[i], o.out[1].x[i]) - e)));
    square += static_cast<double>(std::norm(e));
  }
  return worst / std::sqrt(square / static_cast<double>(expected.size()));
}

// Every level in float, and double, against the definition. Rounding grows with the number of passes.
void check_definition(const Shape& shape, const Axes& axes, bool complex, bool inverse) {
  INFO("shape " << shape.size() << " axes, first " << shape[0] << ", last " << shape.back()
                << (complex ? ", complex" : ", real") << (inverse ? ", inverse" : ""));
  const Values re = uniform(shape, -1, 1, 3), im = uniform(shape, -1, 1, 4);
  const auto expected =
      definition(joined(re.x, complex ? im.x : std::vector<double>{}), shape, axes, inverse);
  const Trial t = trial(re, complex ? std::optional(im) : std::nullopt, axes, inverse, 0.5);
  const double passes = 6 + std::log2(static_cast<double>(count(shape)));
  cpu::at_each_level([&] {
    INFO(cpu::name(cpu::level()));
    REQUIRE(error(t.run({.dtype = ATTN_F32}), expected, 0.5) < passes * 1.2e-7);
  });
  REQUIRE(error(t.run({}), expected, 0.5) < passes * 2.3e-16);
}

}  // namespace

TEST_CASE("fft: every length follows the definition") {
  for (int64_t n = 1; n <= 64; ++n) {
    check_definition({n}, {0}, n % 2 == 0, n % 3 == 0);
    check_definition({3, n}, {-1}, n % 2 != 0, false);
    check_definition({2, n, 5}, {1}, false, n % 2 == 0);
  }
  for (const int64_t n : {97, 127, 121, 169, 257, 343, 509, 512, 1000, 1009, 2047, 4096})
    check_definition({n}, {0}, n % 2 == 0, false);
}

TEST_CASE("fft: several axes, real and complex") {
  struct Case {
    Shape shape;
    Axes axes;
  };
  const auto c =
      GENERATE(Case{{6, 4}, {0, 1}}, Case{{7, 9}, {1, 0}}, Case{{2, 33, 37}, {1, 2}},
               Case{{70, 5, 6}, {-2, -1}}, Case{{3, 8, 1}, {1, 2}}, Case{{3, 1, 8}, {1, 2}},
               Case{{2, 1, 1}, {1, 2}}, Case{{16, 34, 3}, {0, 1}}, Case{{5, 2, 40}, {0, 2}},
               Case{{4, 6, 10}, {0, 1, 2}}, Case{{2, 5, 3, 17}, {1, 2, 3}},
               Case{{3, 4, 2, 3}, {0, 1, 2, 3}}, Case{{1, 31, 64}, {1, 2}});
  for (const bool complex : {false, true})
    for (const bool inverse : {false, true}) check_definition(c.shape, c.axes, complex, inverse);
}

TEST_CASE("fft: layouts, threads and the gradient of the real part") {
  struct Case {
    Shape shape;
    Axes axes;
    bool complex;
  };
  const auto c =
      GENERATE(Case{{12}, {0}, false}, Case{{5, 21}, {1}, true}, Case{{40, 18}, {1}, false},
               Case{{3, 17, 20}, {1}, true}, Case{{2, 24, 35}, {1, 2}, false},
               Case{{2, 9, 38}, {1, 2}, true}, Case{{3, 4, 5, 2}, {0, 2, 3}, false},
               Case{{0, 4}, {1}, false}, Case{{4, 0}, {1}, true});
  Trial t = trial(uniform(c.shape, -1, 1, 5),
                  c.complex ? std::optional(uniform(c.shape, -1, 1, 6)) : std::nullopt, c.axes,
                  count(c.shape) % 8 == 0, 0.75);
  t.examine();
  t.wanted = 1;
  t.examine();
}

TEST_CASE("fft: the gradient of the imaginary part") {
  const Axes axes = GENERATE(Axes{1}, Axes{1, 2});
  const bool inverse = GENERATE(false, true);
  const Shape shape{2, 6, 7};
  Trial t = trial(uniform(shape, -1, 1, 7), std::nullopt, axes, inverse, 1.5);
  t.differentiated = 1;
  t.wanted = 2;
  t.examine();
  t.in[1] = uniform(shape, -1, 1, 8);
  t.wanted = 3;
  t.examine();
}

TEST_CASE("fft: there and back, at lengths beyond the definition's reach") {
  const int64_t n = GENERATE(65536, 65537, 50000);
  const Values re = uniform({2, n}, -1, 1, 9), im = uniform({2, n}, -1, 1, 10);
  cpu::at_each_level([&] {
    const Outcome there = trial(re, im, {1}).run({.dtype = ATTN_F32});
    const Outcome back = trial(there.out[0], there.out[1], {1}, true, 1 / static_cast<double>(n))
                             .run({.dtype = ATTN_F32});
    CHECK(error(back, joined(re.x, im.x), 1) < 44 * 1.2e-7);
  });
  // A few of the sums themselves.
  const Outcome there = trial(re, im, {1}).run({});
  const std::vector<Wide> w = roots(n);
  for (const int64_t k : {int64_t{0}, int64_t{1}, n / 2, n - 3}) {
    Wide sum = 0;
    for (int64_t i = 0; i < n; ++i)
      sum += Wide(re.x[static_cast<size_t>(n + i)], im.x[static_cast<size_t>(n + i)]) *
             w[static_cast<size_t>(i * k % n)];
    const auto at = static_cast<size_t>(n + k);
    CHECK(std::abs(Wide(there.out[0].x[at], there.out[1].x[at]) - sum) <
          22 * 2.3e-16 * std::sqrt(static_cast<double>(n)));
  }
}

TEST_CASE("fft: what is not finite stays in its item") {
  const Axes axes = GENERATE(Axes{2}, Axes{1}, Axes{1, 2});
  const Shape shape{3, 30, 36};
  Values x = uniform(shape, -1, 1, 11);
  const auto clean = trial(x, std::nullopt, axes).run({.dtype = ATTN_F32});
  x.x[(1 * 30 + 4) * 36 + 7] = INFINITY;
  const auto y = trial(x, std::nullopt, axes).run({.dtype = ATTN_F32});
  for (const size_t part : {0, 1}) {
    bool reached = false;
    for (size_t i = 0; i < x.x.size(); ++i) {
      const size_t item = i / (30 * 36), row = i / 36 % 30, column = i % 36;
      if (item == 1 && (axes.size() == 2 || (axes[0] == 2 ? row == 4 : column == 7)))
        reached = reached || !std::isfinite(y.out[part].x[i]);
      else
        REQUIRE(y.out[part].x[i] == clean.out[part].x[i]);
    }
    CHECK(reached);
  }
}

TEST_CASE("fft: refusals") {
  CHECK(trial(uniform({2, 3}), uniform({3, 2}), {0}).refusal() ==
        "im has shape (3, 2), re (2, 3); expected equal ones");
  CHECK(trial(uniform({2, 3}), std::nullopt, {}).refusal() ==
        "no axis given; expected at least one");
  CHECK(trial(uniform({2, 3}), std::nullopt, {2}).refusal() ==
        "axis 2 is out of range for rank 2; expected -2..1");
  CHECK(trial(uniform({2, 3}), std::nullopt, {1, -1}).refusal() == "axis -1 is listed twice");
}
