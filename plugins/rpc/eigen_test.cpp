// SPDX-License-Identifier: Apache-2.0
//
// The eigen-solver by itself, with its inner loops on single numbers.
#include "plugins/rpc/eigen.hpp"

#include <catch2/catch.hpp>

#include <cmath>
#include <functional>
#include <limits>
#include <vector>

// A plugin is no library that a test could link: its source is compiled once more here.
#include "plugins/rpc/eigen.cpp"  // NOLINT

#define ATTN_KERNEL_LEVEL reference
#define ATTN_KERNEL_SCALAR
#include "plugins/rpc/kernels/matrix.cpp"  // NOLINT

namespace {

// Largest of |A v - lambda v| / |lambda| and |V V^T - I|.
double error(int64_t n, const std::function<double(int64_t, int64_t)>& entry) {
  const int64_t ld = rpc::padded(n);
  const auto cells = static_cast<size_t>(n * ld);
  std::vector<double> a(cells), v(cells), values(static_cast<size_t>(n));
  const rpc::MatrixKernels& kernels = rpc::reference::matrix_kernels_table;
  using attn::sdk::Arena;
  std::vector<char> memory(Arena::measure([&](Arena& m) { rpc::Eigen(kernels, n, m); }));
  Arena arena(memory.data());
  std::vector<int64_t> which(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i) {
    which[static_cast<size_t>(i)] = i;
    for (int64_t j = 0; j < n; ++j) a[static_cast<size_t>(i * ld + j)] = entry(i, j);
  }
  rpc::Eigen eigen(kernels, n, arena);
  eigen.decompose(n, ld, a.data(), values.data());
  eigen.vectors(n, which.data(), v.data());
  double norm = std::numeric_limits<double>::min(), worst = 0;
  for (const double x : values) norm = std::max(norm, std::fabs(x));
  for (int64_t i = 0; i < n; ++i) {
    const double* x = v.data() + i * ld;
    for (int64_t r = 0; r < n; ++r) {
      const double* y = v.data() + r * ld;
      double product = -values[static_cast<size_t>(i)] * x[r], inner = i == r ? -1 : 0;
      for (int64_t j = 0; j < n; ++j) {
        product += entry(r, j) * x[j];
        inner += x[j] * y[j];
      }
      worst = std::max({worst, std::fabs(product) / norm, std::fabs(inner)});
    }
  }
  return worst;
}

// Rounding of n^2 rotations, which mostly cancels: some tens of eps.
constexpr double kSmall = 200 * std::numeric_limits<double>::epsilon();

double some(int64_t i, int64_t j) { return std::sin(static_cast<double>(7 * i * i + 3 * j + 1)); }

}  // namespace

TEST_CASE("rpc: eigenvectors of symmetric matrices") {
  const int64_t n = GENERATE(1, 2, 3, 8, 17, 64, 101);
  const double scale = GENERATE(1.0, 1e-140, 1e140);
  INFO("n " << n << ", scale " << scale);
  const auto gram = [&](int64_t rank) {
    return error(n, [&](int64_t i, int64_t j) {
      double sum = 0;
      for (int64_t r = 0; r < rank; ++r) sum += some(i, r) * some(j, r);
      return scale * sum;
    });
  };
  CHECK(gram(n) < kSmall);
  CHECK(gram(1) < kSmall);
  CHECK(gram((n + 3) / 4) < kSmall);
  // All eigenvalues equal; all but one 0; very different ones; pairs that agree to many digits (Wilkinson).
  CHECK(error(n, [&](int64_t i, int64_t j) { return i == j ? scale : 0; }) < kSmall);
  CHECK(error(n, [&](int64_t, int64_t) { return scale; }) < kSmall);
  CHECK(error(n, [&](int64_t i, int64_t j) {
          return i == j ? scale * std::pow(10.0, static_cast<double>(-(i % 20))) : 0;
        }) < kSmall);
  CHECK(error(n, [&](int64_t i, int64_t j) {
          if (i == j) return scale * std::fabs(static_cast<double>(i - n / 2));
          return i - j == 1 || j - i == 1 ? scale : 0;
        }) < kSmall);
  CHECK(error(n, [](int64_t, int64_t) { return 0.0; }) < kSmall);
}
