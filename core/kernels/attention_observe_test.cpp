// SPDX-License-Identifier: Apache-2.0
//
// What a call tells of its weights, against the map of the double reference, and against the map of the same call, which
// is as exact; and that asking changes no output.
#include "core/kernels/attention_observe.hpp"

#include <catch2/catch.hpp>

#include <optional>

#include "core/kernels/attention_test.hpp"

using namespace attn;
using namespace attn::kernels;
using namespace attn::kernels::test;

namespace {

template <class T>
struct Told {
  std::vector<T> row_max, lse, entropy, column_mass, distances, top_weights, map;
  std::vector<int64_t> top_keys;
  MapSlice slice{};
  int64_t top = 3;

  explicit Told(const Problem& p) {
    const auto size = [](int64_t n) { return static_cast<size_t>(std::max<int64_t>(n, 0)); };
    const size_t heads = size(p.batch * p.heads), rows = heads * size(p.queries);
    slice = {p.heads / 2, p.heads - p.heads / 2, p.queries / 3, (p.queries + 1) / 2,
             p.keys / 4,  (p.keys + 1) / 2};
    for (auto* x : {&row_max, &lse, &entropy}) x->assign(rows, T(77));
    column_mass.assign(heads * size(p.keys), T(77));
    distances.assign(heads * size(p.queries + p.keys - 1), T(77));
    top_weights.assign(rows * size(top), T(77));
    top_keys.assign(rows * size(top), 77);
    map.assign(size(p.batch * slice.heads * slice.queries * slice.keys), T(77));
  }
  AttentionObserved<T> all(Probability kind) {
    AttentionObserved<T> o;
    o.row_max = row_max.data(), o.entropy = entropy.data(), o.column_mass = column_mass.data();
    if (kind == Probability::softmax) o.lse = lse.data();
    o.distances = distances.data(), o.map = map.data(), o.slice = slice;
    o.top = top, o.top_weights = top_weights.data(), o.top_keys = top_keys.data();
    return o;
  }
};

// From whole maps of calls with numbers T, summed in double.
template <class T>
Told<double> expected(Problem p, std::vector<double>& weights) {
  threads::PoolParallel parallel;
  p.dropout = 0, p.map = true;
  p.stage = MapStage::biased;
  auto scores = make<T>(p);
  attention(scores.a, parallel);
  p.stage = MapStage::weights, p.lse = p.kind == Probability::softmax;
  auto d = make<T>(p);
  attention(d.a, parallel);
  weights.assign(d.map.begin(), d.map.end());
  Told<double> t(p);
  if (p.lse) t.lse.assign(d.lse.begin(), d.lse.begin() + static_cast<int64_t>(t.lse.size()));
  std::fill(t.column_mass.begin(), t.column_mass.end(), 0);
  std::fill(t.distances.begin(), t.distances.end(), 0);
  for (int64_t r = 0; r < p.batch * p.heads * p.queries; ++r) {
    const int64_t bh = r / p.queries, i = r % p.queries;
    const double* w = weights.data() + r * p.keys;
    const T* s = scores.map.data() + r * p.keys;
    double entropy = 0, max = -std::numeric_limits<double>::infinity();
    for (int64_t j = 0; j < p.keys; ++j) {
      max = std::max(max, static_cast<double>(s[j]));
      if (w[j] != 0) entropy -= w[j] * std::log(w[j]);
      t.column_mass[static_cast<size_t>(bh * p.keys + j)] += w[j];
      t.distances[static_cast<size_t>(bh * (p.queries + p.keys - 1) + p.queries - 1 + j - i)] +=
          w[j];
    }
    t.row_max[static_cast<size_t>(r)] = max;
    t.entropy[static_cast<size_t>(r)] = entropy;
    std::vector<int64_t> order(static_cast<size_t>(p.keys));
    for (size_t j = 0; j < order.size(); ++j) order[j] = static_cast<int64_t>(j);
    std::stable_sort(order.begin(), order.end(), [&](int64_t x, int64_t y) { return w[x] > w[y]; });
    for (int64_t n = 0; n < t.top; ++n) {
      const bool there = n < p.keys && w[order[static_cast<size_t>(n)]] > 0;
      const auto at = static_cast<size_t>(r * t.top + n);
      t.top_keys[at] = there ? order[static_cast<size_t>(n)] : -1;
      t.top_weights[at] = there ? w[t.top_keys[at]] : 0;
    }
    const int64_t h = bh % p.heads - t.slice.head, q = i - t.slice.query;
    if (h < 0 || q < 0 || q >= t.slice.queries) continue;
    for (int64_t j = 0; j < t.slice.keys; ++j)
      t.map[static_cast<size_t>(
          ((bh / p.heads * t.slice.heads + h) * t.slice.queries + q) * t.slice.keys + j)] =
          w[t.slice.key + j];
  }
  return t;
}

// Largest difference, of numbers above 1 relative to them.
template <class T>
double worst(const std::vector<T>& x, const std::vector<double>& y) {
  REQUIRE(x.size() == y.size());
  double most = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    if (static_cast<double>(x[i]) == y[i]) continue;
    const double d = std::abs(static_cast<double>(x[i]) - y[i]) / std::max(1.0, std::abs(y[i]));
    if (!(d <= most)) most = d;
  }
  return most;
}

// Scores carry an error of their magnitude times some roundings, and a weight turns that into a relative error, which
// threshmax and adaptive multiply; an entropy meets it times its logarithm, up to 8 here.
double tolerance(const Problem& p) {
  const double z = 2 + p.amplitude * p.amplitude * std::sqrt(static_cast<double>(p.head_dim)) / 2;
  const double sharpness = p.kind == Probability::threshmax ? 8 : is_adaptive(p.kind) ? 10 : 1;
  return 16 * 1.2e-7 * z * sharpness;
}

// Beside a map of the same call the error of the scores is the same, but for the order in which few rows are summed up.
double tolerance_of_map(const Problem& p) { return tolerance(p) / 8; }

template <class T>
void compare(const Told<T>& t, const Told<double>& e, const Problem& p,
             const std::vector<double>& weights, double tolerance, double of_entropy) {
  REQUIRE(worst(t.row_max, e.row_max) <= tolerance);
  if (p.kind == Probability::softmax) REQUIRE(worst(t.lse, e.lse) <= tolerance);
  REQUIRE(worst(t.entropy, e.entropy) <= of_entropy);
  REQUIRE(worst(t.column_mass, e.column_mass) <= tolerance);
  REQUIRE(worst(t.distances, e.distances) <= tolerance);
  REQUIRE(worst(t.map, e.map) <= tolerance);
  REQUIRE(worst(t.top_weights, e.top_weights) <= tolerance);
  for (size_t i = 0; i < t.top_keys.size(); ++i) {  // among equal ones another key may be first
    const int64_t key = t.top_keys[i], row = static_cast<int64_t>(i) / t.top;
    if (key < 0) REQUIRE(e.top_weights[i] <= tolerance);
    if (key < 0) continue;
    const double w = weights[static_cast<size_t>(row * p.keys + key)];
    REQUIRE(std::abs(w - e.top_weights[i]) <= tolerance);
  }
}

template <class P>
void check(const Problem& p) {
  std::vector<double> weights;
  const Told<double> e = expected<double>(p, weights);
  {
    threads::PoolParallel parallel;
    auto d = make<double>(p);
    Told<double> told(p);
    attention_observed(d.a, told.all(p.kind), parallel);
    INFO("double " << p.text());
    compare(told, e, p, weights, 1e-12, 1e-11);
  }
  at_each_level([&] {
    P parallel;
    auto f = make<float>(p), plain = make<float>(p);
    Told<float> told(p);
    attention_observed(f.a, told.all(p.kind), parallel);
    attention(plain.a, parallel);
    INFO(p.text());
    REQUIRE(f.o == plain.o);
    REQUIRE(f.map == plain.map);
    REQUIRE(f.lse == plain.lse);
    compare(told, e, p, weights, tolerance(p), 8 * tolerance(p));
    if (cpu::level() == cpu::Level::reference) return;  // one code for both
    std::vector<double> rounded;
    const Told<double> map = expected<float>(p, rounded);
    compare(told, map, p, rounded, tolerance_of_map(p), tolerance_of_map(p));
  });
}

}  // namespace

TEST_CASE("observed: every shape with every option and every probability") {
  for (const Problem& shape : shapes())
    for (const Problem& option : options())
      for (int kind = 0; kind < kProbabilityKinds; ++kind)
        check<threads::PoolParallel>(combine(shape, option, static_cast<Probability>(kind)));
}

TEST_CASE("observed: many keys, several blocks, chunks and tiles, decoding") {
  for (const Problem& option : options())
    for (const int64_t queries : {1, 3, 40, 230}) {
      Problem shape;
      shape.heads = 4, shape.kv_heads = 2, shape.queries = queries, shape.keys = 1100;
      shape.head_dim = 16, shape.value_dim = 8;
      Problem p = combine(shape, option, Probability::softmax);
      if (p.causal) p.offset += 870;
      check<threads::PoolParallel>(p);
    }
}

TEST_CASE("observed: scratch is neither overrun nor read before it is written") {
  for (const Problem& shape : shapes())
    for (const Problem& option : options())
      check<GuardedParallel>(
          combine(shape, option, static_cast<Probability>((shape.keys + option.block) % 5)));
}

TEST_CASE("observed: nothing to do, and no keys") {
  Problem p;
  p.queries = 0;
  check<GuardedParallel>(p);
  p.queries = 5, p.keys = 0, p.heads = 3;
  check<GuardedParallel>(p);
}

TEST_CASE("observed: each alone has the bits that it has beside the others") {
  at_each_level([&] {
    for (const int kind : {0, 1}) {
      Problem p;
      p.batch = 2, p.heads = 4, p.kv_heads = 2, p.queries = 90, p.keys = 310, p.head_dim = 24;
      p.causal = true, p.offset = 200, p.kind = static_cast<Probability>(kind);
      threads::PoolParallel parallel;
      auto f = make<float>(p);
      Told<float> all(p);
      attention_observed(f.a, all.all(p.kind), parallel);
      for (int n = 0; n < 6; ++n) {
        Told<float> one(p);
        const AttentionObserved<float> every = one.all(p.kind);
        AttentionObserved<float> o;
        if (n == 0) o.row_max = every.row_max;
        if (n == 1) o.entropy = every.entropy;
        if (n == 2) o.column_mass = every.column_mass;
        if (n == 3) o.distances = every.distances;
        if (n == 4)
          o.top = every.top, o.top_keys = every.top_keys, o.top_weights = every.top_weights;
        if (n == 5) o.map = every.map, o.slice = every.slice;
        attention_observed(f.a, o, parallel);
        INFO(p.text() << " observable " << n);
        CHECK((n != 0 || one.row_max == all.row_max));
        CHECK((n != 1 || one.entropy == all.entropy));
        CHECK((n != 2 || one.column_mass == all.column_mass));
        CHECK((n != 3 || one.distances == all.distances));
        CHECK((n != 4 || (one.top_weights == all.top_weights && one.top_keys == all.top_keys)));
        CHECK((n != 5 || one.map == all.map));
      }
    }
  });
}

TEST_CASE("observed: bits do not depend on the number of threads") {
  at_each_level([&] {
    for (const Problem& option : options())
      for (int kind = 0; kind < (attn::test::sanitized_for_threads ? 1 : 2); ++kind)
        for (const int64_t queries : {2, 250}) {
          Problem shape;
          shape.batch = 2, shape.heads = 4, shape.kv_heads = 2, shape.queries = queries;
          shape.keys = 310, shape.head_dim = 24, shape.value_dim = 16;
          const Problem p = combine(shape, option, static_cast<Probability>(kind));
          std::optional<Told<float>> first;
          for (const int n_threads : {1, 2, 3}) {
            threads::ThreadPool pool(n_threads);
            threads::PoolParallel parallel(pool);
            auto f = make<float>(p);
            Told<float> t(p);
            attention_observed(f.a, t.all(p.kind), parallel);
            if (!first) first = t;
            INFO(p.text() << " threads " << n_threads);
            REQUIRE(t.row_max == first->row_max);
            REQUIRE(t.lse == first->lse);
            REQUIRE(t.entropy == first->entropy);
            REQUIRE(t.column_mass == first->column_mass);
            REQUIRE(t.distances == first->distances);
            REQUIRE(t.top_weights == first->top_weights);
            REQUIRE(t.top_keys == first->top_keys);
            REQUIRE(t.map == first->map);
          }
        }
  });
}

TEST_CASE("observed: a bias that is the same for all keys is in the maximum") {
  at_each_level([&] {
    for (const int kind : {0, 1}) {
      Problem p;
      p.heads = p.kv_heads = 2, p.queries = 30, p.keys = 40,
      p.kind = static_cast<Probability>(kind);
      std::vector<float> bias(30);
      for (size_t i = 0; i < bias.size(); ++i) bias[i] = static_cast<float>(i) / 4 - 3;
      threads::PoolParallel parallel;
      auto f = make<float>(p);
      Told<float> without(p), with(p);
      attention_observed(f.a, without.all(p.kind), parallel);
      f.a.bias = {bias.data(), 0, 0, 1, 0};
      AttentionObserved<float> alone;
      alone.row_max = with.row_max.data();
      attention_observed(f.a, alone, parallel);
      INFO(p.text());
      for (size_t r = 0; r < with.row_max.size(); ++r)
        REQUIRE(std::abs(with.row_max[r] - without.row_max[r] - bias[r % 30]) <= 1e-5F);
    }
  });
}

TEST_CASE("observed: a sink is no score of a row, whether it is the greatest or not") {
  at_each_level([&] {
    Problem p;
    p.heads = p.kv_heads = 3, p.queries = 130, p.keys = 140, p.causal = true;
    threads::PoolParallel parallel;
    auto f = make<float>(p);
    const auto row_max = [&](const std::vector<float>& sinks) {
      std::vector<float> out(static_cast<size_t>(p.batch * p.heads * p.queries), 77);
      f.a.sinks = sinks.empty() ? nullptr : sinks.data();
      AttentionObserved<float> o;
      o.row_max = out.data();
      attention_observed(f.a, o, parallel);
      return out;
    };
    const std::vector<float> without = row_max({});
    // Below all scores, among them, and above.
    for (const std::vector<float>& sinks :
         {std::vector<float>{-1e4F, -1e4F, -1e4F}, std::vector<float>{-1e4F, 0.5F, 1e4F},
          std::vector<float>{1e4F, 1e4F, 1e4F}})
      REQUIRE(row_max(sinks) == without);
  });
}

TEST_CASE("observed: weights that exist tell the same") {
  Problem p;
  p.batch = 2, p.heads = 2, p.kv_heads = 2, p.queries = 130, p.keys = 70, p.bias = Bias::infinite;
  std::vector<double> weights;
  const Told<double> e = expected<double>(p, weights);
  threads::PoolParallel parallel;
  Told<double> told(p);
  AttentionObserved<double> o = told.all(p.kind);
  o.row_max = o.lse = nullptr;
  const Scores4<const double> view{weights.data(), 2 * 130 * 70, 130 * 70, 70, 1};
  observe_weights(p.batch, p.heads, p.queries, p.keys, view, o, parallel);
  told.row_max = e.row_max, told.lse = e.lse;
  compare(told, e, p, weights, 1e-12, 1e-11);
}
