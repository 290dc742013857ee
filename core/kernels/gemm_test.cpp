// SPDX-License-Identifier: Apache-2.0
#include "core/kernels/gemm.hpp"

#include <catch2/catch.hpp>
#include <cmath>
#include <random>
#include <vector>

#include "core/cpu/testing_levels.hpp"
#include "core/kernels/reference/gemm.hpp"
#include "core/threads/pool.hpp"

using namespace attn;
using kernels::Gemm;

namespace {

std::vector<float> random_floats(size_t n, unsigned seed) {
  std::mt19937 engine(seed);
  std::uniform_real_distribution<float> uniform(-1.0f, 1.0f);
  std::vector<float> x(n);
  for (float& v : x) v = uniform(engine);
  return x;
}

struct Case {
  int64_t m, n, k, batch = 1;
  bool a_transposed = false, b_transposed = false, packed = false, accumulate = false, bias = false;
  float alpha = 1.0f;
  bool shared_b = false;
};

// Runs the case with room between rows, which must stay untouched.
std::vector<float> run(const Case& t, Parallel& parallel, double& worst) {
  const int64_t a_ld = (t.a_transposed ? t.m : t.k) + 3, b_ld = (t.b_transposed ? t.k : t.n) + 5;
  const int64_t a_size = a_ld * (t.a_transposed ? t.k : t.m);
  const int64_t b_size = b_ld * (t.b_transposed ? t.n : t.k);
  const int64_t c_ld = t.n + 2, c_size = c_ld * t.m;
  const auto a = random_floats(static_cast<size_t>(a_size * t.batch), 1);
  const auto b = random_floats(static_cast<size_t>(b_size * t.batch), 2);
  const auto bias = random_floats(static_cast<size_t>(t.n), 3);
  auto c = random_floats(static_cast<size_t>(c_size * t.batch), 4);
  const auto before = c;
  Gemm g;
  g.m = t.m, g.n = t.n, g.k = t.k;
  g.a = a.data(), g.a_row = t.a_transposed ? 1 : a_ld, g.a_col = t.a_transposed ? a_ld : 1;
  g.b_row = t.b_transposed ? 1 : b_ld, g.b_col = t.b_transposed ? b_ld : 1;
  std::vector<float> packed;
  if (t.packed) {
    packed.resize(kernels::packed_size(t.k, t.n));
    kernels::pack_b(t.k, t.n, b.data(), g.b_row, g.b_col, packed.data(), parallel);
    g.packed = packed.data();
  } else {
    g.b = b.data();
  }
  g.c = c.data(), g.c_row = c_ld;
  g.alpha = t.alpha, g.accumulate = t.accumulate, g.bias = t.bias ? bias.data() : nullptr;
  g.batch = t.batch, g.a_batch = a_size, g.c_batch = c_size;
  g.b_batch = t.shared_b || t.packed ? 0 : b_size;
  kernels::gemm(g, parallel);

  worst = 0;
  for (int64_t i = 0; i < t.batch; ++i) {
    const std::vector<double> da(a.begin() + i * a_size, a.begin() + (i + 1) * a_size);
    const auto b0 = b.begin() + i * g.b_batch;
    const std::vector<double> db(b0, b0 + b_size), dbias(bias.begin(), bias.end());
    std::vector<double> dc(before.begin() + i * c_size, before.begin() + (i + 1) * c_size);
    kernels::reference::gemm<double>(t.m, t.n, t.k, t.alpha, da.data(), g.a_row, g.a_col, db.data(),
                                     g.b_row, g.b_col, dc.data(), c_ld, t.accumulate,
                                     t.bias ? dbias.data() : nullptr);
    // Each of the k products rounds once, in a sum of magnitude sqrt(k); 4 for the epilogue.
    const double bound = (4 + static_cast<double>(t.k)) * 1.2e-7 *
                         (2 + std::sqrt(static_cast<double>(t.k)) * std::abs(t.alpha));
    for (int64_t j = 0; j < c_size; ++j) {
      const double got = c[static_cast<size_t>(i * c_size + j)];
      if (j % c_ld >= t.n) {
        if (got != before[static_cast<size_t>(i * c_size + j)]) worst = 1e9;
      } else {
        worst = std::max(worst, std::abs(got - dc[static_cast<size_t>(j)]) / bound);
      }
    }
  }
  return c;
}

void check(const Case& t, Parallel& parallel) {
  double worst = 0;
  run(t, parallel, worst);
  INFO(cpu::name(cpu::level()) << " m " << t.m << " n " << t.n << " k " << t.k << " batch "
                               << t.batch << " at " << t.a_transposed << " bt " << t.b_transposed
                               << " packed " << t.packed << " acc " << t.accumulate << " bias "
                               << t.bias);
  REQUIRE(worst < 1.0);
}

using cpu::at_each_level;

}  // namespace

TEST_CASE("gemm: every form of operands, tails in m, n and k") {
  threads::PoolParallel parallel;
  at_each_level([&] {
    for (const int64_t m : {1, 2, 5, 7, 8, 13, 100}) {
      for (const int64_t n : {1, 3, 15, 17, 64, 83, 130}) {
        for (const int64_t k : {1, 2, 9, 40}) {
          const int form = static_cast<int>((m + n + k) % 16);
          Case t{m, n, k};
          t.a_transposed = form & 1, t.b_transposed = form & 2, t.packed = form & 4;
          t.accumulate = form & 8, t.bias = m % 2 == 0, t.alpha = n % 2 == 0 ? 0.7f : 1.0f;
          check(t, parallel);
        }
      }
    }
    for (int form = 0; form < 16; ++form) {
      Case t{37, 70, 33};
      t.a_transposed = form & 1, t.b_transposed = form & 2, t.packed = form & 4,
      t.accumulate = form & 8;
      t.bias = true, t.alpha = -1.5f;
      check(t, parallel);
      t.m = 3;
      check(t, parallel);
      t.batch = 5;
      check(t, parallel);
    }
    parallel.release();
  });
}

TEST_CASE("gemm: long k, wide n, batches, shared B") {
  threads::PoolParallel parallel;
  at_each_level([&] {
    check({7, 20, 2500}, parallel);
    Case dw{24, 40, 4100};
    dw.a_transposed = true, dw.accumulate = true;
    check(dw, parallel);
    Case deep{100, 600, 1100};
    deep.packed = true, deep.bias = true;
    if (cpu::level() != cpu::Level::reference) check(deep, parallel);
    Case batch{50, 49, 32, 20};
    batch.b_transposed = true;
    check(batch, parallel);
    batch.shared_b = true;
    check(batch, parallel);
    Case big{20, 300, 300, 3};
    check(big, parallel);
    parallel.release();
  });
}

TEST_CASE("gemm: an empty sum writes the bias or nothing") {
  threads::PoolParallel parallel;
  float c[6] = {1, 2, 3, 4, 5, 6};
  const float bias[3] = {10, 20, 30};
  Gemm g;
  g.m = 2, g.n = 3, g.k = 0, g.c = c, g.c_row = 3, g.bias = bias, g.accumulate = true;
  kernels::gemm(g, parallel);
  CHECK(c[5] == 36);
  g.accumulate = false, g.bias = nullptr;
  kernels::gemm(g, parallel);
  CHECK(c[0] == 0);
}

TEST_CASE("gemm: bits do not depend on the number of threads nor on packing") {
  at_each_level([&] {
    for (const Case& shape :
         {Case{130, 150, 200}, Case{8, 700, 300}, Case{20, 30, 5000}, Case{64, 64, 64, 9}}) {
      std::vector<float> first;
      for (const int n_threads : {1, 2, 7}) {
        threads::ThreadPool pool(n_threads);
        threads::PoolParallel parallel(pool);
        for (const bool packed : {false, true}) {
          if (packed && shape.batch > 1) continue;
          Case t = shape;
          t.packed = packed;
          double worst = 0;
          const auto c = run(t, parallel, worst);
          if (first.empty()) first = c;
          REQUIRE(c == first);
        }
      }
    }
  });
}
