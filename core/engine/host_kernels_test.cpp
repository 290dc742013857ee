// SPDX-License-Identifier: Apache-2.0
#include "core/engine/host_kernels.hpp"

#include <attn/sdk/operator.hpp>
#include <catch2/catch.hpp>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "core/cpu/level.hpp"

using attn::engine::kHostKernels;

namespace {

constexpr float kNone = -std::numeric_limits<float>::infinity();
constexpr double kEps = std::numeric_limits<float>::epsilon();

// From -8 to 8, nowhere repeated.
std::vector<float> line(int64_t n, uint32_t seed) {
  std::vector<float> x(static_cast<size_t>(n));
  for (float& v : x) {
    seed = seed * 1664525u + 1013904223u;
    v = static_cast<float>(seed >> 8) * (16.0f / 16777216.0f) - 8.0f;
  }
  return x;
}
// Off every vector width.
const int64_t kLengths[] = {1, 3, 4, 7, 16, 17, 31, 64, 100, 257};

}  // namespace

TEST_CASE("host kernels: exp, in place and at the ends of the range") {
  for (const int64_t n : kLengths) {
    const std::vector<float> x = line(n, 1);
    std::vector<float> y = x;
    kHostKernels.exp(n, y.data(), y.data());
    // Two roundings and the polynomial: 4 eps.
    for (size_t i = 0; i < x.size(); ++i)
      REQUIRE(y[i] == Approx(std::exp(static_cast<double>(x[i]))).epsilon(4 * kEps));
  }
  std::vector<float> x{kNone, -200, 0, 200, -kNone, std::nanf(""), 1, 1};
  kHostKernels.exp(8, x.data(), x.data());
  REQUIRE(x[0] == 0);
  REQUIRE(x[1] == 0);
  REQUIRE(x[2] == 1);
  REQUIRE(std::isinf(x[3]));
  REQUIRE(std::isinf(x[4]));
  REQUIRE(std::isnan(x[5]));
}

TEST_CASE("host kernels: softmax and log sum exp of rows that lie apart") {
  for (const int64_t n : kLengths) {
    const int64_t row = n + 3;
    const std::vector<float> x = line(3 * row, 2);
    std::vector<float> y = x;
    float log_sums[3] = {};
    kHostKernels.log_sum_exp(3, n, x.data(), row, log_sums);
    kHostKernels.softmax(3, n, y.data(), row);
    for (int64_t r = 0; r < 3; ++r) {
      double sum = 0;
      for (int64_t j = 0; j < n; ++j)
        sum += std::exp(static_cast<double>(x[static_cast<size_t>(r * row + j)]));
      // The largest |log sum| is near 8 + log n; rounded at the end and in the sum.
      REQUIRE(std::abs(log_sums[r] - std::log(sum)) < 16 * 4 * kEps);
      for (int64_t j = 0; j < row && r * row + j < static_cast<int64_t>(x.size()); ++j) {
        const auto i = static_cast<size_t>(r * row + j);
        if (j < n)
          REQUIRE(y[i] == Approx(std::exp(static_cast<double>(x[i])) / sum).epsilon(16 * kEps));
        else
          REQUIRE(y[i] == x[i]);
      }
    }
  }
}

TEST_CASE("host kernels: a row of nothing but -infinity") {
  std::vector<float> x(5, kNone);
  float log_sum = 0;
  kHostKernels.log_sum_exp(1, 5, x.data(), 5, &log_sum);
  REQUIRE(log_sum == kNone);
  kHostKernels.log_sum_exp(1, 0, x.data(), 5, &log_sum);
  REQUIRE(log_sum == kNone);
  kHostKernels.softmax(1, 5, x.data(), 5);
  for (const float v : x) REQUIRE(v == Approx(0.2).epsilon(2 * kEps));
}

TEST_CASE("host kernels: a row with NaN or +infinity is NaN, whatever else it holds") {
  const auto before = attn::cpu::level();
  for (const auto level : attn::cpu::available()) {
    attn::cpu::set_level(level);
    for (const int64_t n : kLengths)
      for (const float bad : {std::nanf(""), -kNone})
        for (const float rest : {kNone, 0.5f, bad})
          for (const int64_t at : {int64_t{0}, n / 2, n - 1}) {
            INFO(attn::cpu::name(level)
                 << ": " << bad << " at " << at << " of " << n << " among " << rest);
            std::vector<float> x(static_cast<size_t>(n), rest);
            x[static_cast<size_t>(at)] = bad;
            float log_sum = 0;
            kHostKernels.log_sum_exp(1, n, x.data(), n, &log_sum);
            CHECK(std::isnan(log_sum));
            kHostKernels.softmax(1, n, x.data(), n);
            for (const float v : x) CHECK(std::isnan(v));
          }
  }
  attn::cpu::set_level(before);
}

TEST_CASE("host kernels: rows of a probability, of every kind and in both number types") {
  using namespace attn::sdk;
  constexpr int64_t kRows = 3, n = 9, row = 11;
  const std::vector<float> x = line(kRows * row, 5), y = line(n, 6);
  for (int64_t kind = 0; kind < kProbabilityKinds; ++kind) {
    INFO("kind " << kind);
    // The temperature of both forms moves with the entropy of these rows.
    const bool paper = kind == static_cast<int64_t>(ProbabilityKind::adaptive_paper);
    const std::array<double, 2> polynomial = {0.25, paper ? 1.0 : 0.1};
    const attn_value attrs[] = {detail::int_value(kind),
                                detail::ints_value(nullptr, 0),
                                detail::real_value(0),
                                detail::real_value(0.1),
                                detail::real_value(1),
                                detail::real_value(0.25),
                                detail::reals_value(polynomial.data(), 2)};
    double slope = 6;
    std::vector<double> z(x.begin(), x.end()), w(kRows * n), g(y.begin(), y.end()), dz(n),
        scratch(3 * n);
    for (double& v : z) v *= 0.125;
    const std::vector<float> single(z.begin(), z.end());
    std::vector<float> weights(kRows * n);
    const auto weigh = [&] {
      kHostKernels.probability_rows(attrs, slope, ATTN_F64, kRows, n, z.data(), row, w.data(), n);
      return std::inner_product(g.begin(), g.end(), w.begin() + n, 0.0);  // of row 1
    };
    weigh();
    kHostKernels.probability_rows(attrs, slope, ATTN_F32, kRows, n, single.data(), row,
                                  weights.data(), n);
    for (size_t i = 0; i < w.size(); ++i)
      CHECK(std::abs(static_cast<double>(weights[i]) - w[i]) < 1e-6);
    for (int64_t r = 0; r < kRows; ++r)
      CHECK(std::accumulate(w.begin() + r * n, w.begin() + (r + 1) * n, 0.0) == Approx(1));
    const double dslope = kHostKernels.probability_row_vjp(
        attrs, slope, ATTN_F64, n, z.data() + row, g.data(), dz.data(), scratch.data());
    const auto difference = [&](double& at) {
      constexpr double kStep = 1e-6;
      const double here = at;
      at = here + kStep;
      const double up = weigh();
      at = here - kStep;
      const double down = weigh();
      at = here;
      return (up - down) / (2 * kStep);
    };
    for (size_t j = 0; j < n; ++j) CHECK(std::abs(difference(z[row + j]) - dz[j]) < 1e-7);
    CHECK(std::abs(difference(slope) - dslope) < 1e-7);
  }
}

TEST_CASE("host kernels: sums and products are added in double, sorting goes both ways") {
  for (const int64_t n : kLengths) {
    const std::vector<float> x = line(n, 3), y = line(n, 4);
    double sum = 0, dot = 0, size = 0;
    for (size_t i = 0; i < x.size(); ++i) {
      sum += static_cast<double>(x[i]);
      dot += static_cast<double>(x[i]) * static_cast<double>(y[i]);
      size += 64;
    }
    REQUIRE(std::abs(kHostKernels.sum(n, x.data()) - sum) < 1e-14 * size);
    REQUIRE(std::abs(kHostKernels.dot(n, x.data(), y.data()) - dot) < 1e-14 * size);
    std::vector<float> z = x;
    kHostKernels.sort(n, z.data(), 0);
    for (size_t i = 1; i < z.size(); ++i) REQUIRE(z[i - 1] <= z[i]);
    kHostKernels.sort(n, z.data(), 1);
    for (size_t i = 1; i < z.size(); ++i) REQUIRE(z[i - 1] >= z[i]);
  }
}

namespace {

auto matmul_serial_of(float) { return kHostKernels.matmul_serial_f32; }
auto matmul_serial_of(double) { return kHostKernels.matmul_serial_f64; }

// y = a b (+ y), against double, and against itself with other strides; nothing between the rows of y is touched.
template <class T>
void check_product(int64_t m, int64_t n, int64_t k, bool accumulate) {
  const auto numbers = [](int64_t count, uint32_t seed) {
    const std::vector<float> x = line(count + 1, seed);
    return std::vector<T>(x.begin(), x.end());
  };
  const int64_t gap = 3, row = n + gap;
  const std::vector<T> a = numbers(m * k, 1), b = numbers(k * n, 2), start = numbers(m * row, 3);
  const auto transposed = [](const std::vector<T>& x, int64_t rows, int64_t columns) {
    std::vector<T> y(x.size());
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t j = 0; j < columns; ++j)
        y[static_cast<size_t>(j * rows + i)] = x[static_cast<size_t>(i * columns + j)];
    return y;
  };
  const std::vector<T> at = transposed(a, m, k), bt = transposed(b, k, n);
  const auto run = [&](bool turn_a, bool turn_b) {
    std::vector<T> y = start;
    matmul_serial_of(T())(m, n, k, turn_a ? at.data() : a.data(), turn_a ? 1 : k, turn_a ? m : 1,
                          turn_b ? bt.data() : b.data(), turn_b ? 1 : n, turn_b ? k : 1, y.data(),
                          row, accumulate);
    return y;
  };
  const std::vector<T> y = run(false, false);
  for (int64_t i = 0; i < m; ++i)
    for (int64_t j = 0; j < row; ++j) {
      const auto at_y = static_cast<size_t>(i * row + j);
      if (j >= n) {
        REQUIRE(y[at_y] == start[at_y]);
        continue;
      }
      double sum = accumulate ? static_cast<double>(start[at_y]) : 0, size = std::abs(sum);
      for (int64_t p = 0; p < k; ++p) {
        const double x = static_cast<double>(a[static_cast<size_t>(i * k + p)]) *
                         static_cast<double>(b[static_cast<size_t>(p * n + j)]);
        sum += x;
        size += std::abs(x);
      }
      const double eps = std::numeric_limits<T>::epsilon();
      REQUIRE(std::abs(static_cast<double>(y[at_y]) - sum) <=
              static_cast<double>(k + 1) * eps * size);
    }
  CHECK(run(true, false) == y);
  CHECK(run(false, true) == y);
  CHECK(run(true, true) == y);
}

}  // namespace

TEST_CASE("host kernels: products of one thread, any strides, the same bits however operands lie") {
  const auto before = attn::cpu::level();
  for (const auto level : attn::cpu::available()) {
    attn::cpu::set_level(level);
    // Every number of rows and of vectors that are left over, and more than one block of k.
    for (const int64_t m : {0, 1, 2, 3, 5, 6, 7, 8, 13, 23})
      for (const int64_t n : {0, 1, 3, 4, 9, 16, 31, 32, 48, 57, 64, 130})
        for (const int64_t k : {0, 1, 7, 64, 150})
          for (const bool accumulate : {false, true}) {
            INFO(attn::cpu::name(level)
                 << ": " << m << " x " << n << " x " << k << (accumulate ? " +" : ""));
            check_product<float>(m, n, k, accumulate);
            check_product<double>(m, n, k, accumulate);
          }
  }
  attn::cpu::set_level(before);
}
