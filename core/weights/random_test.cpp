// SPDX-License-Identifier: Apache-2.0
//
// Statistical bounds: a mean of n independent draws is normal with deviation sigma / sqrt(n). The seeds are
// fixed, so a test passes always or never; 5 deviations leave room for the choice of the seed only.
#include "core/weights/random.hpp"

#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>
#include <limits>
#include <set>
#include <thread>
#include <vector>

#include "core/error/error.hpp"
#include "core/random/philox.hpp"
#include "core/weights/seed.hpp"

using namespace attn;
using namespace attn::weights;

namespace {
constexpr double kEps = std::numeric_limits<double>::epsilon();
}

TEST_CASE("random: words are those of Philox, two a block") {
  RandomStream random(5, 9);
  for (uint64_t block = 0; block < 10; ++block) {
    const auto w = philox4x32(5, 9, block);
    CHECK(random.bits() == (w[0] | static_cast<uint64_t>(w[1]) << 32));
    CHECK(random.bits() == (w[2] | static_cast<uint64_t>(w[3]) << 32));
  }
}

TEST_CASE("random: logarithm") {
  // Both sides err by about one unit in the last place of the result.
  RandomStream random(1, 1);
  double worst = 0.0;
  for (int i = 0; i < 200000; ++i) {
    const double x = i % 2 == 0 ? random.uniform() + 0x1p-60
                                : std::ldexp(1.0 + random.uniform(),
                                             static_cast<int>(random.bits() % 2000) - 1000);
    const double expected = std::log(x);
    const double got = portable_log(x);
    const double unit = std::max(std::fabs(expected), 1e-300) * kEps;
    worst = std::max(worst, std::fabs(got - expected) / unit);
  }
  CHECK(worst <= 2.0);
  CHECK(portable_log(1.0) == 0.0);
}

TEST_CASE("random: inverse of the normal distribution") {
  // P(Z <= z) = erfc(-z / sqrt 2) / 2. A relative error d of z changes it by the relative amount
  // d z phi(z) / P(z), which is below d (1 + z^2); erfc itself errs by a few units, times z^2 for its argument.
  RandomStream random(2, 1);
  double worst = 0.0;
  for (int i = 0; i < 200000; ++i) {
    double p = random.uniform() * 0.5;
    if (i % 4 == 0) p = std::ldexp(p + 0.25, -static_cast<int>(random.bits() % 52));
    if (!(p > 0x1p-53 && p < 0.5)) continue;
    const double z = inverse_normal(p);
    const double back = 0.5 * std::erfc(-z / std::sqrt(2.0));
    worst = std::max(worst, std::fabs(back - p) / p / ((1.0 + z * z) * kEps));
  }
  CHECK(worst <= 8.0);
  CHECK(inverse_normal(0.5) == 0.0);
  CHECK(inverse_normal(0x1p-53) == Approx(-8.2095361516013856).epsilon(1e-14));
  CHECK(inverse_normal(1.0 - 0x1p-53) == -inverse_normal(0x1p-53));
  CHECK(inverse_normal(0.975) == Approx(1.9599639845400545).epsilon(1e-15));
}

TEST_CASE("random: uniform numbers fill [0, 1)") {
  RandomStream random(3, 1);
  constexpr int kN = 400000;
  double sum = 0.0;
  double square = 0.0;
  std::vector<int> bins(100, 0);
  for (int i = 0; i < kN; ++i) {
    const double u = random.uniform();
    REQUIRE((u >= 0.0 && u < 1.0));
    sum += u;
    square += u * u;
    ++bins[static_cast<size_t>(u * 100)];
  }
  CHECK(std::fabs(sum / kN - 0.5) < 5 * std::sqrt(1.0 / 12 / kN));
  CHECK(std::fabs(square / kN - 1.0 / 3) < 5 * std::sqrt((1.0 / 5 - 1.0 / 9) / kN));
  // Chi squared with 99 degrees of freedom: mean 99, deviation sqrt(198).
  double chi2 = 0.0;
  for (const int count : bins) chi2 += (count - kN / 100.0) * (count - kN / 100.0) / (kN / 100.0);
  CHECK(std::fabs(chi2 - 99) < 5 * std::sqrt(198.0));
}

TEST_CASE("random: normal numbers have the right moments and tails") {
  RandomStream random(4, 1);
  constexpr int kN = 400000;
  double m1 = 0, m2 = 0, m3 = 0, m4 = 0, beyond2 = 0, beyond3 = 0, pairs = 0, last = 0;
  for (int i = 0; i < kN; ++i) {
    const double z = random.normal();
    m1 += z;
    m2 += z * z;
    m3 += z * z * z;
    m4 += z * z * z * z;
    beyond2 += std::fabs(z) > 2 ? 1 : 0;
    beyond3 += std::fabs(z) > 3 ? 1 : 0;
    pairs += z * last;
    last = z;
  }
  // Variances of one draw: 1, 3 - 1, 15, 105 - 9; of a pair 1; of an indicator p (1 - p).
  const double n = kN;
  CHECK(std::fabs(m1 / n) < 5 * std::sqrt(1 / n));
  CHECK(std::fabs(m2 / n - 1) < 5 * std::sqrt(2 / n));
  CHECK(std::fabs(m3 / n) < 5 * std::sqrt(15 / n));
  CHECK(std::fabs(m4 / n - 3) < 5 * std::sqrt(96 / n));
  CHECK(std::fabs(pairs / n) < 5 * std::sqrt(1 / n));
  CHECK(std::fabs(beyond2 / n - 0.0455002638963584) < 5 * std::sqrt(0.0455 * 0.9545 / n));
  CHECK(std::fabs(beyond3 / n - 0.00269979606326019) < 5 * std::sqrt(0.0027 / n));
}

TEST_CASE("random: truncated normal numbers") {
  RandomStream random(5, 1);
  constexpr int kN = 200000;
  double sum = 0.0;
  double square = 0.0;
  for (int i = 0; i < kN; ++i) {
    const double z = random.truncated_normal(2.0);
    REQUIRE(std::fabs(z) < 2.0);
    sum += z;
    square += z * z;
  }
  // Variance of the truncated draw 0.7737; its square has a variance below 2.
  CHECK(std::fabs(sum / kN) < 5 * std::sqrt(0.7737 / kN));
  CHECK(std::fabs(square / kN - 0.87962566103423978 * 0.87962566103423978) <
        5 * std::sqrt(2.0 / kN));
  CHECK_THROWS_AS(random.truncated_normal(0.0), InvalidArgument);
  CHECK_THROWS_AS(random.truncated_normal(std::nan("")), InvalidArgument);
}

TEST_CASE("random: the same on every machine") {
  // A sum over bit patterns: one unit in the last place anywhere changes it.
  uint64_t sum = 0;
  RandomStream random(42, 7);
  for (uint64_t i = 1; i <= 100000; ++i) {
    const double z = random.normal();
    uint64_t bits = 0;
    static_assert(sizeof bits == sizeof z);
    std::memcpy(&bits, &z, sizeof bits);
    sum = sum * 6364136223846793005u + bits;
  }
  CHECK(sum == 0xd7f5dde58e09bcb7u);
}

TEST_CASE("random: the seed of the library") {
  set_global_seed(7);
  CHECK(global_seed() == 7u);
  const std::vector<uint64_t> first{draw_seed(), draw_seed(), draw_seed()};
  set_global_seed(7);
  CHECK(std::vector<uint64_t>{draw_seed(), draw_seed(), draw_seed()} == first);
  CHECK(std::set<uint64_t>(first.begin(), first.end()).size() == 3);
  set_global_seed(8);
  CHECK(draw_seed() != first[0]);

  // From many threads every draw is another one of the same sequence.
  set_global_seed(7);
  std::set<uint64_t> expected;
  for (int i = 0; i < 400; ++i) expected.insert(draw_seed());
  set_global_seed(7);
  std::vector<std::vector<uint64_t>> drawn(4);
  std::vector<std::thread> threads;
  for (auto& mine : drawn) {
    threads.emplace_back([&mine] {
      for (int i = 0; i < 100; ++i) mine.push_back(draw_seed());
    });
  }
  for (std::thread& t : threads) t.join();
  std::set<uint64_t> all;
  for (const auto& mine : drawn) all.insert(mine.begin(), mine.end());
  CHECK(all == expected);

  set_global_seed(std::nullopt);
  CHECK_FALSE(global_seed());
  CHECK(draw_seed() != draw_seed());
}
