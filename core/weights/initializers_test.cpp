// SPDX-License-Identifier: Apache-2.0
//
// Statistical bounds as in random_test.cpp: 5 deviations of the mean of n draws, fixed seeds.
#include "core/weights/initializers.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <limits>
#include <set>
#include <utility>
#include <vector>

#include "core/error/error.hpp"
#include "core/weights/orthogonal.hpp"
#include "core/weights/random.hpp"

using namespace attn;
using namespace attn::weights;
using schema::FanMode;
using schema::InitializerKind;
using schema::InitializerSpec;
using schema::ScalingDistribution;

namespace {

InitializerSpec spec_of(InitializerKind kind) {
  InitializerSpec s;
  s.kind = kind;
  return s;
}

std::vector<double> drawn(const InitializerSpec& s, const Shape& shape, uint64_t seed = 1,
                          const std::string& path = "w", attn_dtype dtype = ATTN_F64) {
  return initial_weight(s, dtype, shape, seed, path).astype(ATTN_F64).to_vector<double>();
}

struct Moments {
  double mean, deviation, low, high;
};

Moments moments(const std::vector<double>& x) {
  double sum = 0.0;
  double square = 0.0;
  for (const double v : x) sum += v;
  const double mean = sum / static_cast<double>(x.size());
  for (const double v : x) square += (v - mean) * (v - mean);
  const auto [low, high] = std::minmax_element(x.begin(), x.end());
  return {mean, std::sqrt(square / static_cast<double>(x.size())), *low, *high};
}

const std::vector<InitializerKind> kRandomKinds{
    InitializerKind::kRandomNormal,    InitializerKind::kRandomUniform,
    InitializerKind::kTruncatedNormal, InitializerKind::kVarianceScaling,
    InitializerKind::kGlorotUniform,   InitializerKind::kGlorotNormal,
    InitializerKind::kHeUniform,       InitializerKind::kHeNormal,
    InitializerKind::kLecunUniform,    InitializerKind::kLecunNormal,
    InitializerKind::kOrthogonal};

}  // namespace

TEST_CASE("initializers: fans") {
  const auto check = [](const Shape& shape, double in, double out) {
    CAPTURE(shape.to_string());
    CHECK(fans(shape).in == in);
    CHECK(fans(shape).out == out);
  };
  check({}, 1, 1);
  check({7}, 7, 7);
  check({3, 5}, 3, 5);
  check({3, 3, 8, 1}, 72, 9);  // depthwise: C kh kw, kh kw
  check({2, 4, 6}, 8, 12);
  check({0, 5}, 0, 5);
}

TEST_CASE("initializers: constants") {
  InitializerSpec s = spec_of(InitializerKind::kZeros);
  CHECK(drawn(s, {2, 2}) == std::vector<double>(4, 0.0));
  s.kind = InitializerKind::kOnes;
  CHECK(drawn(s, {3}) == std::vector<double>(3, 1.0));
  s.kind = InitializerKind::kConstant;
  s.value = 0.8;
  CHECK(drawn(s, {}) == std::vector<double>{0.8});
  CHECK(drawn(s, {2}, 1, "w", ATTN_F32) == std::vector<double>(2, static_cast<double>(0.8f)));
  s.kind = InitializerKind::kIdentity;
  s.gain = 2.0;
  CHECK(drawn(s, {2, 3}) == std::vector<double>{2, 0, 0, 0, 2, 0});
  CHECK(drawn(s, {3, 2}) == std::vector<double>{2, 0, 0, 2, 0, 0});
  CHECK_FALSE(is_random(s));
  CHECK(drawn(s, {0, 3}).empty());
}

TEST_CASE("initializers: scaled draws have the deviation of their fans") {
  struct Case {
    InitializerKind kind;
    double variance;  // for (300, 500)
    bool uniform;
  };
  const std::vector<Case> cases{{InitializerKind::kGlorotUniform, 1.0 / 400, true},
                                {InitializerKind::kGlorotNormal, 1.0 / 400, false},
                                {InitializerKind::kHeUniform, 2.0 / 300, true},
                                {InitializerKind::kHeNormal, 2.0 / 300, false},
                                {InitializerKind::kLecunUniform, 1.0 / 300, true},
                                {InitializerKind::kLecunNormal, 1.0 / 300, false},
                                {InitializerKind::kVarianceScaling, 1.0 / 300, false}};
  const double n = 150000;
  for (const Case& c : cases) {
    CAPTURE(static_cast<int>(c.kind));
    const Moments m = moments(drawn(spec_of(c.kind), {300, 500}));
    const double deviation = std::sqrt(c.variance);
    CHECK(std::fabs(m.mean) < 5 * deviation / std::sqrt(n));
    // A sample deviation has the relative error sqrt((kurtosis - 1) / 4n) <= sqrt(1 / 2n), kurtosis <= 3.
    CHECK(std::fabs(m.deviation / deviation - 1) < 5 * std::sqrt(0.5 / n));
    // The ends: sqrt 3 for a uniform draw, 2 / 0.8796 for a truncated normal; n draws come close to both.
    const double end =
        c.uniform ? std::sqrt(3.0) * deviation : 2.0 / 0.87962566103423978 * deviation;
    CHECK(m.high <= end);
    CHECK(m.low >= -end);
    CHECK(m.high > 0.999 * end);
    CHECK(m.low < -0.999 * end);
  }
}

TEST_CASE("initializers: variance scaling by mode and distribution") {
  const double n = 150000;
  for (const FanMode mode : {FanMode::kFanIn, FanMode::kFanOut, FanMode::kFanAvg}) {
    for (const auto distribution :
         {ScalingDistribution::kTruncatedNormal, ScalingDistribution::kUntruncatedNormal,
          ScalingDistribution::kUniform}) {
      InitializerSpec s = spec_of(InitializerKind::kVarianceScaling);
      s.scale = 3.0;
      s.mode = mode;
      s.distribution = distribution;
      const double fan = mode == FanMode::kFanIn ? 300 : mode == FanMode::kFanOut ? 500 : 400;
      const Moments m = moments(drawn(s, {300, 500}));
      CHECK(std::fabs(m.deviation / std::sqrt(3.0 / fan) - 1) < 5 * std::sqrt(0.5 / n));
      const bool far = m.high > 3.5 * m.deviation;  // expected 35 of 150000 normal draws
      CHECK(far == (distribution == ScalingDistribution::kUntruncatedNormal));
    }
  }
}

TEST_CASE("initializers: plain draws") {
  const double n = 200000;
  InitializerSpec s = spec_of(InitializerKind::kRandomNormal);
  s.mean = 2.0;
  s.stddev = 0.5;
  Moments m = moments(drawn(s, {200000}));
  CHECK(std::fabs(m.mean - 2.0) < 5 * 0.5 / std::sqrt(n));
  CHECK(std::fabs(m.deviation / 0.5 - 1) < 5 * std::sqrt(0.5 / n));
  s.kind = InitializerKind::kTruncatedNormal;
  m = moments(drawn(s, {200000}));
  CHECK(std::fabs(m.mean - 2.0) < 5 * 0.5 / std::sqrt(n));
  CHECK(std::fabs(m.deviation / (0.5 * 0.87962566103423978) - 1) < 5 * std::sqrt(0.5 / n));
  CHECK(m.high < 3.0);
  CHECK(m.low > 1.0);
  s.kind = InitializerKind::kRandomUniform;
  m = moments(drawn(s, {200000}));
  CHECK(std::fabs(m.mean) < 5 * 0.1 / std::sqrt(12 * n));
  CHECK(m.low >= -0.05);
  CHECK(m.high < 0.05);
  s.stddev = 0.0;
  s.kind = InitializerKind::kRandomNormal;
  CHECK(drawn(s, {4}) == std::vector<double>(4, 2.0));
  s.kind = InitializerKind::kRandomUniform;
  s.minval = s.maxval = 0.25;
  CHECK(drawn(s, {4}) == std::vector<double>(4, 0.25));
}

TEST_CASE("initializers: uniform draws stay below maxval in every kind") {
  // [1, 1 + 2^-7) holds a single bfloat16 value: without care half of the draws would round up to maxval.
  InitializerSpec s = spec_of(InitializerKind::kRandomUniform);
  for (const attn_dtype dtype : {ATTN_F64, ATTN_F32, ATTN_F16, ATTN_BF16}) {
    for (const auto& [low, high] :
         {std::pair{1.0, 1.0 + 0x1p-7}, std::pair{-1.0, -1.0 + 0x1p-8}, std::pair{0.0, 1.0}}) {
      s.minval = low;
      s.maxval = high;
      const Moments m = moments(drawn(s, {20000}, 3, "w", dtype));
      CHECK(m.low >= low);
      CHECK(m.high < high);
    }
  }
}

TEST_CASE("initializers: seeds and paths") {
  for (const InitializerKind kind : kRandomKinds) {
    CAPTURE(static_cast<int>(kind));
    InitializerSpec s = spec_of(kind);
    CHECK(is_random(s));
    const std::vector<double> base = drawn(s, {4, 6}, 1, "w");
    CHECK(drawn(s, {4, 6}, 1, "w") == base);
    CHECK(drawn(s, {4, 6}, 2, "w") != base);
    CHECK(drawn(s, {4, 6}, 1, "v") != base);
    CHECK(std::set<double>(base.begin(), base.end()).size() == 24);
    s.seed = 1;
    CHECK(drawn(s, {4, 6}, 99, "w") == base);
    CHECK(drawn(s, {4, 6}, 99, "v") == drawn(s, {4, 6}, 98, "v"));
    CHECK(drawn(s, {4, 6}, 99, "v") != base);
  }
}

TEST_CASE("initializers: kinds and strides of the target do not change the draw") {
  for (const InitializerKind kind : kRandomKinds) {
    const InitializerSpec s = spec_of(kind);
    const std::vector<double> wide = drawn(s, {50, 30});
    const std::vector<double> narrow = drawn(s, {50, 30}, 1, "w", ATTN_F32);
    int wrong = 0;
    for (size_t i = 0; i < wide.size(); ++i) {
      // A uniform draw just below maxval may be one float lower.
      if (std::fabs(narrow[i] - wide[i]) > 0x1p-23 * std::fabs(wide[i])) ++wrong;
    }
    CHECK(wrong == 0);
    std::vector<double> memory(1500);
    initialize(s, View(memory.data(), {50, 30}, {1, 50}), 1, "w");
    for (size_t i = 0; i < 50; ++i) {
      for (size_t j = 0; j < 30; ++j) wrong += memory[j * 50 + i] != wide[i * 30 + j] ? 1 : 0;
    }
    CHECK(wrong == 0);
  }
}

TEST_CASE("initializers: orthogonal") {
  // Householder QR is backward stable: |Q^T Q - I| of the order of rows eps; 4 rows eps is a wide bound.
  for (const Shape& shape : {Shape{1, 1}, Shape{40, 40}, Shape{100, 33}, Shape{33, 100},
                             Shape{3, 3, 4, 70}, Shape{70, 1}}) {
    CAPTURE(shape.to_string());
    InitializerSpec s = spec_of(InitializerKind::kOrthogonal);
    s.gain = 0.5;
    const std::vector<double> q = drawn(s, shape);
    const auto cols = static_cast<size_t>(shape[shape.size() - 1]);
    const size_t rows = q.size() / cols;
    const bool tall = rows >= cols;
    const size_t n = std::min(rows, cols);
    const size_t m = std::max(rows, cols);
    const auto at = [&](size_t i, size_t j) { return tall ? q[i * cols + j] : q[j * cols + i]; };
    double worst = 0.0;
    for (size_t a = 0; a < n; ++a) {
      for (size_t b = 0; b < n; ++b) {
        double sum = 0.0;
        for (size_t i = 0; i < m; ++i) sum += at(i, a) * at(i, b);
        worst = std::max(worst, std::fabs(sum - (a == b ? 0.25 : 0.0)));
      }
    }
    const double eps = std::numeric_limits<double>::epsilon();
    CHECK(worst < 4 * static_cast<double>(m) * eps);

    // R = Q^T A is upper triangular with a diagonal above 0, A being the draw itself.
    RandomStream random(1, weight_stream("w"));
    std::vector<double> draw(m * n);
    double largest = 0.0;
    for (double& x : draw) {
      x = random.normal();
      largest = std::max(largest, std::fabs(x));
    }
    int wrong = 0;
    for (size_t a = 0; a < n; ++a) {
      for (size_t b = 0; b <= a; ++b) {
        double r = 0.0;
        for (size_t i = 0; i < m; ++i) r += at(i, a) / 0.5 * draw[i * n + b];
        const bool right = a == b ? r > 0.0
                                  : std::fabs(r) < 4 * static_cast<double>(m) * eps * largest *
                                                       std::sqrt(static_cast<double>(m));
        if (!right) ++wrong;
      }
    }
    CHECK(wrong == 0);
  }
}

TEST_CASE("initializers: orthogonal factor of a matrix without full rank") {
  std::vector<double> zeros(12, 0.0);
  orthogonal_factor(zeros, 4, 3);
  CHECK(zeros == std::vector<double>{1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0});
  std::vector<double> negative{-2.0};
  orthogonal_factor(negative, 1, 1);
  CHECK(negative == std::vector<double>{-1.0});
}

TEST_CASE("initializers: what cannot be is refused") {
  const double inf = std::numeric_limits<double>::infinity();
  const auto refused = [](InitializerSpec s, const Shape& shape, attn_dtype dtype = ATTN_F32) {
    try {
      static_cast<void>(initial_weight(s, dtype, shape, 1, "layer/kernel"));
    } catch (const InvalidArgument& error) {
      return std::string(error.what()).find("layer/kernel") == 0;
    }
    return false;
  };
  InitializerSpec s = spec_of(InitializerKind::kOrthogonal);
  CHECK(refused(s, {5}));
  CHECK(refused(s, {}));
  s.gain = inf;
  CHECK(refused(s, {5, 5}));
  s = spec_of(InitializerKind::kIdentity);
  CHECK(refused(s, {2, 2, 2}));
  s = spec_of(InitializerKind::kConstant);
  s.value = 1e39;
  CHECK(refused(s, {2}));
  s.value = std::nan("");
  CHECK(refused(s, {2}));
  s.value = 0.5;
  CHECK(refused(s, {2}, ATTN_I32));
  s = spec_of(InitializerKind::kRandomNormal);
  s.stddev = -1.0;
  CHECK(refused(s, {2}));
  s.stddev = inf;
  CHECK(refused(s, {2}));
  s = spec_of(InitializerKind::kRandomUniform);
  s.minval = 1.0;
  CHECK(refused(s, {2}));
  s.minval = -1.7e308;
  s.maxval = 1.7e308;
  CHECK(refused(s, {2}));
  s = spec_of(InitializerKind::kVarianceScaling);
  s.scale = 0.0;
  CHECK(refused(s, {2}));
}
