// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch.hpp>

#include "core/kernels/attention.hpp"
#include "core/kernels/attention_test.hpp"

using namespace attn;
using namespace attn::kernels;
using namespace attn::kernels::test;

namespace {

template <class T>
Data<T> run(const Problem& p, Parallel& parallel) {
  auto d = make<T>(p);
  if (p.kind == Probability::threshmax) d.g.dslope = &d.dslope;
  attention(d.a, parallel);
  attention_backward(d.a, d.g, parallel);
  d.g.dslope = nullptr;
  return d;
}

// As for the forward pass, times the number of terms that are summed up: a key collects all rows of its group, dslope
// all of them. The operands are below 1, dz below |dw| <= value_dim.
double tolerance(const Problem& p) {
  const double z = 2 + p.amplitude * p.amplitude * std::sqrt(static_cast<double>(p.head_dim)) / 2;
  const double sharpness = p.kind == Probability::threshmax ? 20 : is_adaptive(p.kind) ? 60 : 1;
  const auto group = static_cast<double>(p.heads / p.kv_heads * p.batch);
  return 8 * 1.2e-7 * z * sharpness * p.amplitude * std::sqrt(static_cast<double>(p.value_dim)) *
         (2 + std::sqrt(group * static_cast<double>(p.queries))) / (1 - std::min(p.dropout, 0.5));
}

// The oracle once, then every level against it.
template <class P>
void check(const Problem& p, bool reference = true) {
  threads::PoolParallel oracle;
  const auto d = run<double>(p, oracle);
  const double bound = tolerance(p);
  at_each_level([&] {
    if (!reference && cpu::level() == cpu::Level::reference) return;
    P parallel;
    const auto f = run<float>(p, parallel);
    INFO(p.text());
    REQUIRE(worst_difference(f.dq, d.dq) <= bound);
    REQUIRE(worst_difference(f.dk, d.dk) <= bound);
    REQUIRE(worst_difference(f.dv, d.dv) <= bound);
    REQUIRE(worst_difference(f.dbias, d.dbias) <= bound);
    REQUIRE(worst_difference(f.dsinks, d.dsinks) <= bound);
    REQUIRE(std::abs(static_cast<double>(f.dslope) - d.dslope) <= bound);
  });
}

}  // namespace

TEST_CASE("attention backward: every shape with every option and every probability") {
  for (const Problem& shape : shapes()) {
    for (Problem option : options()) {
      for (int kind = 0; kind < kProbabilityKinds; ++kind) {
        option.dmap = option.map && option.stage == MapStage::weights;
        check<threads::PoolParallel>(combine(shape, option, static_cast<Probability>(kind)));
      }
    }
  }
}

TEST_CASE("attention backward: many keys, several blocks") {
  for (const Problem& option : options()) {
    Problem shape;
    shape.heads = 4, shape.kv_heads = 2, shape.queries = 110, shape.keys = 700, shape.head_dim = 64;
    shape.value_dim = 40;
    Problem p = combine(shape, option, Probability::softmax);
    if (p.causal) p.offset += 590;
    check<threads::PoolParallel>(p, false);
  }
}

TEST_CASE("attention backward: scratch is neither overrun nor read before it is written") {
  for (const Problem& shape : shapes()) {
    for (Problem option : options()) {
      option.dmap = option.map && option.stage == MapStage::weights;
      check<GuardedParallel>(
          combine(shape, option, static_cast<Probability>((shape.keys + option.block) % 5)), false);
    }
  }
}

TEST_CASE("attention backward: what is not wanted is left alone") {
  threads::PoolParallel parallel;
  at_each_level([&] {
    Problem p;
    p.queries = 9, p.keys = 12;
    auto d = make<float>(p);
    attention(d.a, parallel);
    const auto before = d;
    AttentionGrads<float> g = d.g;
    g.dq.data = nullptr;
    g.dv.data = nullptr;
    attention_backward(d.a, g, parallel);
    CHECK(d.dq == before.dq);
    CHECK(d.dv == before.dv);
    CHECK(d.dk != before.dk);
  });
}

TEST_CASE("attention backward: bits do not depend on the number of threads") {
  at_each_level([&] {
    for (Problem option : options()) {
      for (int kind = 0; kind < kProbabilityKinds; kind += cpu::thorough() ? 1 : 3) {
        Problem shape;
        shape.batch = 2, shape.heads = 4, shape.kv_heads = 2, shape.queries = 100, shape.keys = 160;
        shape.head_dim = 24, shape.value_dim = 16;
        const Problem p = combine(shape, option, static_cast<Probability>(kind));
        std::vector<float> first;
        for (const int n_threads : {1, 2, 7}) {
          threads::ThreadPool pool(n_threads);
          threads::PoolParallel parallel(pool);
          const auto f = run<float>(p, parallel);
          std::vector<float> all = f.dq;
          all.insert(all.end(), f.dk.begin(), f.dk.end());
          all.insert(all.end(), f.dv.begin(), f.dv.end());
          all.insert(all.end(), f.dbias.begin(), f.dbias.end());
          all.push_back(f.dslope);
          if (first.empty()) first = all;
          INFO(p.text() << " threads " << n_threads);
          const bool equal = all == first;
          REQUIRE(equal);
        }
      }
    }
  });
}

TEST_CASE("attention backward: the reference agrees with central differences in double") {
  threads::PoolParallel parallel;
  const auto loss = [&](Data<double>& d) {
    attention(d.a, parallel);
    double sum = 0;
    for (size_t i = 0; i < d.o.size(); ++i) sum += d.o[i] * d.dout[i];
    for (size_t i = 0; i < d.dmap.size(); ++i) sum += d.map[i] * d.dmap[i];
    for (size_t i = 0; i < d.dlse.size(); ++i)
      if (std::isfinite(d.lse[i])) sum += d.lse[i] * d.dlse[i];
    return sum;
  };
  for (Problem option : options()) {
    for (int kind = 0; kind < kProbabilityKinds; ++kind) {
      Problem shape;
      shape.batch = 2, shape.heads = 2, shape.kv_heads = 1, shape.queries = 3, shape.keys = 7;
      shape.head_dim = 3, shape.value_dim = 2;
      option.dmap = option.map && option.stage == MapStage::weights;
      option.amplitude = 1;
      const Problem p = combine(shape, option, static_cast<Probability>(kind));
      auto d = make<double>(p);
      // Rows of o have room behind them that no forward pass writes.
      std::fill(d.o.begin(), d.o.end(), 0.0);
      for (auto* x : {&d.dq, &d.dk, &d.dv, &d.dbias, &d.dsinks})
        std::fill(x->begin(), x->end(), 0.0);
      d.dslope = 0;
      if (p.kind == Probability::threshmax) d.g.dslope = &d.dslope;
      attention(d.a, parallel);
      attention_backward(d.a, d.g, parallel);
      const auto differentiate = [&](double& x, double got) {
        const double keep = x, h = 1e-6;
        x = keep + h;
        const double plus = loss(d);
        x = keep - h;
        const double minus = loss(d);
        x = keep;
        INFO(p.text());
        // Truncation h^2, rounding eps / h; both far below.
        REQUIRE(std::abs((plus - minus) / (2 * h) - got) <= 2e-7 * (1 + std::abs(got)));
      };
      const auto check_all = [&](std::vector<double>& x, const std::vector<double>& got) {
        for (size_t i = 0; i < x.size(); ++i) {
          if (std::isfinite(x[i])) differentiate(x[i], got[i]);
        }
      };
      check_all(d.q, d.dq);
      check_all(d.k, d.dk);
      check_all(d.v, d.dv);
      if (p.bias != Bias::none) check_all(d.bias, d.dbias);
      check_all(d.sinks, d.dsinks);
      if (p.kind == Probability::threshmax) differentiate(d.a.probability.slope, d.dslope);
      parallel.release();
    }
  }
}
