// SPDX-License-Identifier: Apache-2.0
#include "core/kernels/compact.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "core/cpu/testing_levels.hpp"
#include "core/tensor/narrow.hpp"
#include "core/threads/pool.hpp"

using namespace attn;
using kernels::CompactGemm;

namespace {

constexpr StorageKind kKinds[] = {StorageKind::bfloat16, StorageKind::float16, StorageKind::int8};

std::vector<float> random_floats(int64_t n, unsigned seed) {
  std::mt19937 engine(seed);
  std::uniform_real_distribution<float> uniform(-1.0f, 1.0f);
  std::vector<float> x(static_cast<size_t>(n));
  for (float& v : x) v = uniform(engine);
  return x;
}

// The numbers that a kind keeps of b (k, n), as its description says.
std::vector<double> kept(StorageKind kind, int64_t k, int64_t n, const std::vector<float>& b) {
  std::vector<double> out(b.begin(), b.end());
  const auto at = [n](int64_t p, int64_t j) { return static_cast<size_t>(p * n + j); };
  for (int64_t j = 0; j < n; ++j) {
    for (int64_t first = 0; first < k; first += kernels::kCompactGroup) {
      const int64_t end = std::min(k, first + kernels::kCompactGroup);
      float most = 0;
      for (int64_t p = first; p < end; ++p) most = std::max(most, std::abs(b[at(p, j)]));
      for (int64_t p = first; p < end; ++p) {
        double& x = out[at(p, j)];
        if (kind == StorageKind::bfloat16) x = static_cast<double>(BFloat16(x));
        if (kind == StorageKind::float16) x = static_cast<double>(Float16(x));
        if (kind == StorageKind::int8 && most > 0)
          x = std::nearbyint(b[at(p, j)] * (127 / most)) * static_cast<double>(most / 127);
      }
    }
  }
  return out;
}

struct Case {
  StorageKind kind;
  int64_t m, n, k;
  bool transposed = false, bias = false;
};

struct Outcome {
  std::vector<float> c;
  double of_kept =
      0;  // largest error against the numbers kept, in units of what rounding of the sums explains
  double of_given = 0;  // against b itself, as a share of the largest result
};

Outcome run(const Case& t, Parallel& parallel) {
  const auto a = random_floats(t.m * t.k, 1), b = random_floats(t.k * t.n, 2),
             bias = random_floats(t.n, 3);
  const int64_t row = t.n + 3;  // room between rows, which must stay untouched
  Outcome out{std::vector<float>(static_cast<size_t>(t.m * row), 7.0f)};
  std::vector<char> packed(kernels::compact_size(t.kind, t.k, t.n) + 64);
  char* place = packed.data() + (64 - reinterpret_cast<uintptr_t>(packed.data()) % 64) % 64;
  REQUIRE(kernels::compact(t.kind, t.k, t.n, b.data(), place));
  CompactGemm g{t.kind, t.m, t.n, t.k, a.data(), t.k, 1, place, out.c.data(), row};
  if (t.transposed) g.a_row = 1, g.a_col = t.m;
  if (t.bias) g.bias = bias.data();
  kernels::gemm(g, parallel);

  const std::vector<double> numbers = kept(t.kind, t.k, t.n, b);
  const double bound = (8 + static_cast<double>(t.k)) * 1.2e-7 * (2 + std::sqrt(t.k));
  double largest = 0, worst = 0;
  for (int64_t i = 0; i < t.m; ++i) {
    for (int64_t j = 0; j < row; ++j) {
      const double got = out.c[static_cast<size_t>(i * row + j)];
      if (j >= t.n) {
        REQUIRE(got == 7.0);
        continue;
      }
      double sum = t.bias ? bias[static_cast<size_t>(j)] : 0, given = sum;
      for (int64_t p = 0; p < t.k; ++p) {
        const double x = a[static_cast<size_t>(i * g.a_row + p * g.a_col)];
        sum += x * numbers[static_cast<size_t>(p * t.n + j)];
        given += x * b[static_cast<size_t>(p * t.n + j)];
      }
      out.of_kept = std::max(out.of_kept, std::abs(got - sum) / bound);
      worst = std::max(worst, std::abs(got - given));
      largest = std::max(largest, std::abs(given));
    }
  }
  out.of_given = worst / largest;
  return out;
}

}  // namespace

TEST_CASE("compact: rounding is that of the element kinds") {
  std::vector<float> x;
  for (uint32_t high = 0; high < 0x10000u; high += 3)
    for (const uint32_t low : {0u, 1u, 0x0fffu, 0x1000u, 0x1001u, 0x7fffu, 0x8000u, 0x8001u})
      x.push_back(std::bit_cast<float>(high << 16 | low));
  const auto n = static_cast<int64_t>(x.size());
  std::vector<uint16_t> bits(x.size());
  std::vector<float> back(x.size());
  for (const StorageKind kind : {StorageKind::bfloat16, StorageKind::float16}) {
    static_cast<void>(attn::narrow(kind, n, x.data(), bits.data()));
    attn::widen(kind, n, bits.data(), 1, back.data());
    for (size_t i = 0; i < x.size(); ++i) {
      const float want = kind == StorageKind::bfloat16 ? static_cast<float>(BFloat16(x[i]))
                                                       : static_cast<float>(Float16(x[i]));
      INFO(storage_name(kind) << " of " << x[i]);
      if (std::isnan(x[i]))
        REQUIRE(std::isnan(back[i]));
      else
        REQUIRE(std::bit_cast<uint32_t>(back[i]) == std::bit_cast<uint32_t>(want));
    }
  }
}

TEST_CASE("compact: every number of 16 and 8 bits at every level") {
  // A matrix whose rows are all patterns, times a row that picks each of them.
  threads::PoolParallel parallel;
  for (const StorageKind kind : kKinds) {
    const int64_t n = 64, k = kind == StorageKind::int8 ? 4 : 1024;
    std::vector<uint16_t> halves(static_cast<size_t>(k * n));
    std::vector<float> want(halves.size());
    std::vector<char> b(kernels::compact_size(kind, k, n));
    if (kind == StorageKind::int8) {
      auto* scales = reinterpret_cast<float*>(b.data());
      auto* q = reinterpret_cast<int8_t*>(b.data()) + n * 4;
      for (int64_t j = 0; j < n; ++j) scales[j] = 0.5f;
      for (int64_t i = 0; i < k * n; ++i) {
        q[i] = static_cast<int8_t>(i - 128);
        want[static_cast<size_t>(i)] = static_cast<float>(q[i]) * 0.5f;
      }
    } else {
      for (size_t i = 0; i < halves.size(); ++i) {
        halves[i] = static_cast<uint16_t>(i);
        want[i] =
            kind == StorageKind::bfloat16 ? bfloat16_value(halves[i]) : float16_value(halves[i]);
        // Others in the column would meet them as 0 times infinity.
        if (!std::isfinite(want[i])) halves[i] = 0, want[i] = 0;
      }
      std::copy_n(reinterpret_cast<const char*>(halves.data()), b.size(), b.data());
    }
    std::vector<float> identity(static_cast<size_t>(k * k)), c(want.size());
    for (int64_t i = 0; i < k; ++i) identity[static_cast<size_t>(i * k + i)] = 1;
    cpu::at_each_level([&] {
      for (const int64_t rows : {int64_t{4}, k}) {
        kernels::gemm(CompactGemm{kind, rows, n, k, identity.data(), k, 1, b.data(), c.data(), n},
                      parallel);
        INFO(cpu::name(cpu::level()) << ' ' << storage_name(kind));
        REQUIRE(std::equal(c.begin(), c.begin() + rows * n, want.begin()));
      }
      parallel.release();
    });
  }
}

TEST_CASE("compact: products of every form, tails in m, n and k") {
  threads::PoolParallel parallel;
  cpu::at_each_level([&] {
    for (const StorageKind kind : kKinds)
      for (const int64_t m : {1, 2, 3, 4, 5, 7, 12, 13, 40, 200})
        for (const int64_t n : {1, 16, 33, 64, 65, 150})
          for (const int64_t k : {1, 63, 64, 130, 600}) {
            if (m * n * k > 3000000) continue;
            const Case t{kind, m, n, k, (m + n + k) % 3 == 0, (m + k) % 2 == 0};
            INFO(cpu::name(cpu::level())
                 << ' ' << storage_name(kind) << " m " << m << " n " << n << " k " << k
                 << " transposed " << t.transposed << " bias " << t.bias);
            REQUIRE(run(t, parallel).of_kept < 1);
          }
    parallel.release();
  });
}

TEST_CASE("compact: error of the kinds, and the same bits on any number of threads") {
  cpu::at_each_level([&] {
    for (const StorageKind kind : kKinds)
      for (const int64_t m : {1, 8, 70}) {
        std::vector<float> first;
        for (const int n_threads : {1, 2, 3}) {
          threads::ThreadPool pool(n_threads);
          threads::PoolParallel parallel(pool);
          const Outcome o = run({kind, m, 300, 500}, parallel);
          INFO(cpu::name(cpu::level()) << ' ' << storage_name(kind) << " m " << m);
          CHECK(o.of_given < (kind == StorageKind::int8      ? 1e-2
                              : kind == StorageKind::float16 ? 5e-4
                                                             : 4e-3));
          if (first.empty()) first = o.c;
          REQUIRE(o.c == first);
        }
      }
  });
}

TEST_CASE("compact: what does not fit, and what is no number") {
  const int64_t n = 20, k = 70;
  std::vector<float> b = random_floats(k * n, 5), c(n), a(k, 1.0f);
  std::vector<char> packed(kernels::compact_size(StorageKind::bfloat16, k, n));
  threads::PoolParallel parallel;
  b[3] = 70000;
  CHECK_FALSE(kernels::compact(StorageKind::float16, k, n, b.data(), packed.data()));
  CHECK(kernels::compact(StorageKind::bfloat16, k, n, b.data(), packed.data()));
  for (const float bad : {std::numeric_limits<float>::infinity(), std::nanf("")})
    for (const StorageKind kind : kKinds) {
      b[3] = bad;
      CHECK(kernels::compact(kind, k, n, b.data(), packed.data()));
      cpu::at_each_level([&] {
        kernels::gemm(CompactGemm{kind, 1, n, k, a.data(), k, 1, packed.data(), c.data(), n},
                      parallel);
        INFO(cpu::name(cpu::level()) << ' ' << storage_name(kind) << ' ' << bad);
        CHECK_FALSE(std::isfinite(c[3]));
        CHECK(std::count_if(c.begin(), c.end(), [](float x) { return std::isfinite(x); }) == n - 1);
        parallel.release();
      });
    }
  // Zeros, and numbers too small for a scale.
  std::fill(b.begin(), b.end(), 1e-40f);
  CHECK(kernels::compact(StorageKind::int8, k, n, b.data(), packed.data()));
  kernels::gemm(CompactGemm{StorageKind::int8, 1, n, k, a.data(), k, 1, packed.data(), c.data(), n},
                parallel);
  CHECK(std::all_of(c.begin(), c.end(), [](float x) { return x == 0; }));
}
