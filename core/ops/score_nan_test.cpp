// SPDX-License-Identifier: Apache-2.0
//
// A NaN or +infinity among the scores that a row keeps makes the whole row NaN, at every level, for every kind of
// probability; rows beside it keep their bits, and a masked score counts for nothing.
#include "core/ops/score_rows_test.hpp"

using namespace attn;
using namespace attn::ops;
using namespace attn::ops::testing;

namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

std::vector<double> row_of(const std::vector<double>& x, int64_t row, int64_t n) {
  return {x.begin() + row * n, x.begin() + (row + 1) * n};
}

// Row `bad` is NaN, the others are what they are without it.
void check_rows(const std::vector<double>& x, const std::vector<double>& clean, int64_t n,
                const std::function<bool(int64_t)>& bad) {
  for (int64_t i = 0; i < static_cast<int64_t>(x.size()) / n; ++i) {
    INFO("row " << i);
    if (bad(i))
      CHECK(all_nan(row_of(x, i, n)));
    else
      CHECK(row_of(x, i, n) == row_of(clean, i, n));
  }
}

}  // namespace

TEST_CASE("NaN does not vanish: a kept bias of NaN or +infinity makes its row of attention NaN") {
  const auto [queries, keys, tile] = GENERATE(std::tuple<int64_t, int64_t, int64_t>{5, 37, 0},
                                              std::tuple<int64_t, int64_t, int64_t>{1, 37, 0},
                                              std::tuple<int64_t, int64_t, int64_t>{5, 700, 0},
                                              std::tuple<int64_t, int64_t, int64_t>{20, 700, 128});
  at_each_level_and_dtype([&, q = queries, k = keys, step = tile](int32_t dtype) {
    for (const int64_t kind : kKinds)
      for (const double bad : {kNan, kInfinity})
        for (const int64_t at : {int64_t{0}, k / 2, k - 1}) {
          INFO("kind " << kind << ", " << bad << " at key " << at << ", " << q << " queries, " << k
                       << " keys");
          Trial t = attention_trial({.kind = kind, .queries = q, .keys = k, .tile = step});
          t.in[kQuery] = uniform({1, 1, q, 1}, -2, 2, 3);
          t.in[kBias] = uniform({q, k}, -2, 2, 5);
          const std::vector<double> dout = uniform({3 * q}, -1, 1, 9).x;
          for (const uint32_t wanted : {1u, 3u}) {
            t.wanted = wanted;
            const Outcome clean = t.run({dtype}, &dout);
            Trial u = t;
            u.in[kBias]->x[static_cast<size_t>(q / 2 * k + at)] = bad;
            const Outcome o = u.run({dtype}, &dout);
            const auto is_bad = [&](int64_t i) { return i == q / 2; };
            check_rows(o.out[0].x, clean.out[0].x, 3, is_bad);
            if (wanted == 3) check_rows(o.out[1].x, clean.out[1].x, k, is_bad);
            for (int64_t i = 0; i < q; ++i)
              if (!is_bad(i))
                CHECK(o.din[kQuery][static_cast<size_t>(i)] ==
                      clean.din[kQuery][static_cast<size_t>(i)]);
            // Masked, it counts for nothing.
            Values keep = filled({1, q, k}, 1);
            keep.dtype = ATTN_BOOL;
            keep.x[static_cast<size_t>(q / 2 * k + at)] = 0;
            t.in[kKeep] = u.in[kKeep] = keep;
            if (k > 1) CHECK(u.run({dtype}).out[0].x == t.run({dtype}).out[0].x);
            t.in[kKeep] = u.in[kKeep] = std::nullopt;
          }
        }
  });
}

TEST_CASE("NaN does not vanish: a query's or a key's NaN reaches the rows that see it, no others") {
  at_each_level_and_dtype([&](int32_t dtype) {
    for (const int64_t kind : kKinds) {
      INFO("kind " << kind);
      const int64_t q = 9, k = 9;
      Trial t = attention_trial({.kind = kind, .queries = q, .keys = k, .causal = true});
      t.in[kQuery] = uniform({1, 1, q, 1}, -2, 2, 3);
      t.in[kKey] = uniform({1, 1, k, 1}, -2, 2, 4);
      const Outcome clean = t.run({dtype});
      Trial by_query = t, by_key = t;
      by_query.in[kQuery]->x[3] = kNan;
      const Outcome a = by_query.run({dtype});
      check_rows(a.out[0].x, clean.out[0].x, 3, [](int64_t i) { return i == 3; });
      by_key.in[kKey]->x[5] = kNan;
      const Outcome b = by_key.run({dtype});
      check_rows(b.out[0].x, clean.out[0].x, 3, [](int64_t i) { return i >= 5; });
    }
  });
}

TEST_CASE("NaN does not vanish: rows of nothing else, and beside -infinity") {
  at_each_level_and_dtype([&](int32_t dtype) {
    for (const int64_t kind : kKinds)
      for (const int64_t n : {1, 2, 3, 8, 19, 40})
        for (const double bad : {kNan, kInfinity})
          for (const double rest : {0.5, -kInfinity, bad})
            for (const int64_t at : {int64_t{0}, n / 2, n - 1}) {
              INFO("kind " << kind << ", " << bad << " at " << at << " of " << n << " among "
                           << rest);
              Values z = filled({2, n}, rest);
              for (int64_t j = 0; j < n; ++j)
                z.x[static_cast<size_t>(j)] = 0.25 * static_cast<double>(j);
              z.x[static_cast<size_t>(n + at)] = bad;
              const std::vector<double> dout = uniform({2 * n}, -1, 1, 9).x;
              const std::vector<double> good = weights_of(kind, {z.x.begin(), z.x.begin() + n});
              for (Trial t : {probability_trial(kind, -1), activation_trial(kind)}) {
                t.in[0] = z;
                const Outcome o = t.run({dtype}, &dout);
                CHECK(largest_difference(row_of(o.out[0].x, 0, n), good) < 1e-4);
                CHECK(all_nan(row_of(o.out[0].x, 1, n)));
                CHECK(all_finite(row_of(o.din[0], 0, n)));
              }
              if (kind != kSoftmax) continue;
              Trial t = activation_trial(kind);
              t.attrs[0] = int64_t{31};  // log_softmax
              t.in[0] = z;
              CHECK(all_nan(row_of(t.run({dtype}).out[0].x, 1, n)));
            }
  });
}

TEST_CASE("NaN does not vanish: a row whose every product is -infinity is NaN") {
  const auto [queries, keys] =
      GENERATE(std::pair<int64_t, int64_t>{1, 37}, std::pair<int64_t, int64_t>{9, 37},
               std::pair<int64_t, int64_t>{2, 700}, std::pair<int64_t, int64_t>{40, 700});
  at_each_level_and_dtype([&, q = queries, k = keys](int32_t dtype) {
    for (const int64_t kind : kKinds) {
      INFO("kind " << kind << ", " << q << " queries, " << k << " keys");
      Trial t = attention_trial({.kind = kind, .queries = q, .keys = k});
      t.in[kQuery] = uniform({1, 1, q, 1}, 0.5, 2, 3);
      t.in[kKey] = uniform({1, 1, k, 1}, -2, -0.5, 4);
      const Outcome clean = t.run({dtype});
      t.in[kQuery]->x[static_cast<size_t>(q - 1)] = kInfinity;
      check_rows(t.run({dtype}).out[0].x, clean.out[0].x, 3, [&](int64_t i) { return i == q - 1; });
    }
  });
}
