// SPDX-License-Identifier: Apache-2.0
#include "core/kernels/bf16.hpp"

#include <catch2/catch.hpp>
#include <cmath>
#include <random>
#include <vector>

#include "core/kernels/attention_test.hpp"
#include "core/kernels/gemm_bf16.hpp"
#include "core/tensor/narrow.hpp"
#include "core/threads/notes.hpp"

using namespace attn;
using namespace attn::kernels;
using namespace attn::kernels::test;

namespace {

bool rounds_here() {
  threads::PoolParallel parallel;
  parallel.bfloat16 = true;
  return uses_bf16(parallel);
}

// Every way of this processor; one without any makes products of float32 of the same calls.
template <class F>
void every_way(F&& f) {
  if (bf16_tables().empty()) return f();
  const Bf16Table* const chosen = bf16_table();
  for (const Bf16Table* way : bf16_tables()) {
    set_bf16_table(way);
    INFO(way->way);
    f();
  }
  set_bf16_table(chosen);
}

double rounded(double x, bool round) {
  const auto narrow_x = static_cast<float>(x);
  if (!round) return static_cast<double>(narrow_x);
  uint16_t bits = 0;
  (void)narrow(StorageKind::bfloat16, 1, &narrow_x, &bits);
  float y = 0;
  widen(StorageKind::bfloat16, 1, &bits, 1, &y);
  return static_cast<double>(y);
}

struct Product {
  int64_t m, n, k, batch = 1;
  bool a_transposed = false, b_transposed = false, packed = false, accumulate = false, bias = false;
  bool shared_b = false;
  float alpha = 1;
};

template <class P>
void check(const Product& t) {
  P parallel;
  parallel.bfloat16 = true;
  const bool here = uses_bf16(parallel);
  // Few rows meet a B that is not packed as they are.
  const bool rounds = here && (t.packed || t.m > 24);
  std::mt19937 engine(static_cast<unsigned>(t.m * 7 + t.n * 3 + t.k));
  std::uniform_real_distribution<float> uniform(-1, 1);
  const auto random = [&](int64_t n) {
    std::vector<float> x(static_cast<size_t>(n));
    for (float& v : x) v = uniform(engine);
    return x;
  };
  const int64_t batch_b = t.shared_b || t.packed ? 1 : t.batch, c_row = t.n + 3;
  const auto a = random(t.batch * t.m * t.k), b = random(batch_b * t.k * t.n), bias = random(t.n);
  auto c = random(t.batch * t.m * c_row);
  const auto before = c;
  Gemm g{};
  g.m = t.m, g.n = t.n, g.k = t.k, g.batch = t.batch, g.alpha = t.alpha;
  g.accumulate = t.accumulate, g.bias = t.bias ? bias.data() : nullptr;
  g.a = a.data(), g.a_row = t.a_transposed ? 1 : t.k, g.a_col = t.a_transposed ? t.m : 1;
  g.b = b.data(), g.b_row = t.b_transposed ? 1 : t.n, g.b_col = t.b_transposed ? t.k : 1;
  g.c = c.data(), g.c_row = c_row;
  g.a_batch = t.m * t.k, g.c_batch = t.m * c_row, g.b_batch = batch_b == 1 ? 0 : t.k * t.n;
  std::vector<uint32_t> pairs;
  if (t.packed && here) {
    pairs.resize(bf16_packed_size(t.k, t.n));
    pack_bf16(t.k, t.n, b.data(), pairs.data());
    g.pairs = pairs.data();
  }
  gemm(g, parallel);
  double worst = 0;
  for (int64_t i = 0; i < t.batch * t.m; ++i) {
    const int64_t matrix = i / t.m, row = i % t.m;
    for (int64_t j = 0; j < c_row; ++j) {
      const auto at = static_cast<size_t>(i * c_row + j);
      double sum = static_cast<double>(before[at]);
      if (j < t.n) {
        sum = (t.accumulate ? sum : 0) + (t.bias ? static_cast<double>(bias[size_t(j)]) : 0);
        for (int64_t p = 0; p < t.k; ++p) {
          const auto x = a[static_cast<size_t>(matrix * g.a_batch + row * g.a_row + p * g.a_col)];
          const auto y = b[static_cast<size_t>(matrix * g.b_batch + p * g.b_row + j * g.b_col)];
          sum += rounded(static_cast<double>(t.alpha * x), rounds) *
                 rounded(static_cast<double>(y), rounds);
        }
      }
      worst = std::max(worst, std::abs(sum - static_cast<double>(c[at])) / (j < t.n ? 1 : 1e-9));
    }
  }
  INFO("m " << t.m << " n " << t.n << " k " << t.k << " batch " << t.batch << " at "
            << t.a_transposed << " bt " << t.b_transposed << " packed " << t.packed);
  REQUIRE(worst < 1.2e-7 * (4 + static_cast<double>(t.k)));
}

// As of operands with 8 bits: each score has an error of its own, and each weight.
double tolerance(const Problem& p) {
  const double z = 2 + p.amplitude * p.amplitude * std::sqrt(static_cast<double>(p.head_dim)) / 2;
  return 0.004 * z;
}

template <class P>
void check(const Problem& p, const Data<double>& want) {
  P parallel;
  parallel.bfloat16 = true;
  auto f = make<float>(p);
  attention(f.a, parallel);
  INFO(p.text());
  REQUIRE(worst_difference(f.o, want.o) <= tolerance(p));
  if (p.lse) REQUIRE(worst_difference(f.lse, want.lse) <= tolerance(p));
}

}  // namespace

TEST_CASE("bf16: products are those of rounded operands, every form, tails in m, n and k") {
  every_way([] {
    for (const int64_t m : {1, 15, 16, 17, 33, 70})
      for (const int64_t n : {1, 16, 31, 33, 100})
        for (const int64_t k : {1, 31, 32, 65, 1100}) {
          if (m * n * k > 3'000'000) continue;
          const auto form = static_cast<int>((m + n + k) % 32);
          Product t{m, n, k};
          t.packed = form & 1, t.a_transposed = form & 2, t.b_transposed = (form & 4) && !t.packed;
          t.accumulate = form & 8, t.bias = form & 16, t.alpha = n % 2 == 0 ? 0.7f : 1.0f;
          check<GuardedParallel>(t);
        }
  });
}

TEST_CASE("bf16: batches, blocks of rows, and any number of threads") {
  every_way([] {
    for (const bool shared : {false, true}) {
      Product t{40, 50, 70, 5};
      t.shared_b = shared;
      check<GuardedParallel>(t);
    }
    check<threads::PoolParallel>(Product{700, 90, 64});
    Product tall{30, 40, 64, 30};
    tall.packed = true;
    check<threads::PoolParallel>(tall);
  });
}

TEST_CASE("bf16: attention, every shape with every option") {
  for (const Problem& shape : shapes())
    for (const Problem& option : options()) {
      Problem p = combine(shape, option, Probability::softmax);
      p.map = false;
      threads::PoolParallel oracle;
      auto want = make<double>(p);
      attention(want.a, oracle);
      every_way([&] {
        check<threads::PoolParallel>(p, want);
        check<GuardedParallel>(p, want);
      });
    }
}

TEST_CASE("bf16: attention over several blocks of keys, results of one and two threads") {
  every_way([] {
    for (const Problem& option : options()) {
      Problem shape;
      shape.heads = 4, shape.kv_heads = 2, shape.queries = 40, shape.keys = 1100;
      shape.head_dim = 64, shape.value_dim = 40;
      Problem p = combine(shape, option, Probability::softmax);
      if (p.causal) p.offset += 1090;
      p.map = false;
      threads::PoolParallel oracle;
      auto want = make<double>(p);
      attention(want.a, oracle);
      check<threads::PoolParallel>(p, want);
      GuardedParallel one;
      threads::PoolParallel all;
      one.bfloat16 = all.bfloat16 = true;
      auto x = make<float>(p), y = make<float>(p);
      attention(x.a, one);
      attention(y.a, all);
      REQUIRE(x.o == y.o);
    }
  });
}

TEST_CASE("bf16: products and attention tell which way they took") {
  every_way([] {
    if (!rounds_here()) return;
    threads::PoolParallel parallel;
    parallel.bfloat16 = true;
    Notes of_product, of_attention;
    const std::vector<float> a(32 * 32, 1.0f);
    std::vector<float> c(32 * 32);
    parallel.notes = &of_product;
    gemm(Gemm{32, 32, 32, a.data(), 32, 1, a.data(), 32, 1, c.data(), 32}, parallel);
    CHECK_THAT(of_product.way, Catch::Matchers::Contains(bf16_table()->way));
    auto f = make<float>(combine(shapes().back(), options().front(), Probability::softmax));
    parallel.notes = &of_attention;
    attention(f.a, parallel);
    CHECK_THAT(of_attention.way, Catch::Matchers::Contains(bf16_table()->way));
  });
}

TEST_CASE("bf16: calls at other levels make products of float32") {
  const cpu::Level before = cpu::level();
  for (const cpu::Level level : cpu::available()) {
    if (level == cpu::Level::avx512) continue;
    cpu::set_level(level);
    REQUIRE_FALSE(rounds_here());
  }
  cpu::set_level(before);
}
