// SPDX-License-Identifier: Apache-2.0
//
// Rows of scores of every magnitude up to the lowest number, as additive masks of other libraries make them: such a
// row is a row like any other, at every level, for every kind of probability. Only -infinity masks.
#include "core/ops/score_rows_test.hpp"

using namespace attn;
using namespace attn::ops;
using namespace attn::ops::testing;

namespace {

enum class Form { scores, bias, bias_and_small_scores, bias_and_mask, infinite_bias, causal_bias };
constexpr Form kForms[] = {Form::scores,        Form::bias,          Form::bias_and_small_scores,
                           Form::bias_and_mask, Form::infinite_bias, Form::causal_bias};

struct Rows {
  Trial trial;
  std::vector<std::vector<double>> z{};  // scores of the keys that each query sees
};

Rows rows(AttentionCase a, Form form, double magnitude, int32_t dtype) {
  a.causal = form == Form::causal_bias;
  Rows r{attention_trial(a)};
  const int64_t Q = a.queries, K = a.keys;
  Values bias = filled({Q, K}, 0), keep = filled({Q, K}, 1), q = filled({1, 1, Q, kPatterns}, 0),
         k = filled({1, 1, K, kPatterns}, 0);
  // Small scores are absorbed by what is added to them where they are not kept apart from it anyway.
  const bool small = form == Form::bias_and_small_scores && (magnitude == 1 || magnitude >= 1e30);
  const bool seen = magnitude == 1;
  for (int64_t i = 0; i < Q; ++i) {
    std::vector<double> z;
    for (int64_t j = 0; j < K; ++j) {
      if (a.causal && j > i + K - Q) continue;
      double x = rounded(rounded(magnitude, dtype) * pattern(i, j, K), dtype);
      const auto at = static_cast<size_t>(i * K + j);
      if (form == Form::infinite_bias && (j + i) % 5 == 0) x = -kInfinity;
      bias.x[at] = x;
      if (form == Form::bias_and_mask && (j + i) % 3 == 0) keep.x[at] = 0;
      const double score = small ? static_cast<double>(j % 7 - 3) / 4 : 0;
      z.push_back(keep.x[at] == 0 ? -kInfinity : seen ? x + score : x);
    }
    r.z.push_back(z);
    q.x[static_cast<size_t>(i * kPatterns + i % kPatterns)] = form == Form::scores ? magnitude : 1;
  }
  for (int64_t j = 0; j < K; ++j)
    for (int64_t d = 0; d < kPatterns; ++d)
      k.x[static_cast<size_t>(j * kPatterns + d)] = form == Form::scores ? pattern(d, j, K)
                                                    : small ? static_cast<double>(j % 7 - 3) / 4
                                                            : 0;
  r.trial.in[kQuery] = q;
  r.trial.in[kKey] = k;
  if (form != Form::scores) r.trial.in[kBias] = bias;
  if (form == Form::bias_and_mask) {
    keep.shape = {1, Q, K};
    keep.dtype = ATTN_BOOL;
    r.trial.in[kKeep] = keep;
  }
  return r;
}

// The whole of one case against the formulas, and its gradient against that of float64.
void check(const AttentionCase& a, Form form, double magnitude, int32_t dtype) {
  INFO("kind " << a.kind << ", form " << static_cast<int>(form) << ", magnitude " << magnitude
               << ", " << a.queries << " queries, " << a.keys << " keys, tile " << a.tile);
  const Rows r = rows(a, form, magnitude, dtype);
  const std::vector<double>& v = r.trial.in[kValue]->x;
  std::vector<double> weights(static_cast<size_t>(a.queries * a.keys), 0), out;
  for (size_t i = 0; i < r.z.size(); ++i) {
    const std::vector<double> w = weights_of(a.kind, r.z[i]);
    std::copy(w.begin(), w.end(), weights.begin() + static_cast<int64_t>(i) * a.keys);
    for (size_t d = 0; d < 3; ++d) {
      double sum = 0;
      for (size_t j = 0; j < w.size(); ++j) sum += w[j] * v[3 * j + d];
      out.push_back(sum);
    }
  }
  const double tolerance = weight_tolerance(dtype);
  Trial t = r.trial;
  const std::vector<double> dout = uniform({3 * a.queries}, -1, 1, 9).x;
  for (const uint32_t wanted : {3u, 1u}) {  // with the map all scores of a row are kept, else not
    t.wanted = wanted;
    const Outcome o = t.run({dtype}, &dout);
    CHECK(largest_difference(o.out[0].x, out) <= tolerance);
    if (wanted == 3) {
      CHECK(largest_difference(o.out[1].x, weights) <= tolerance);
      for (int64_t i = 0; i < a.queries; ++i) {
        const auto begin = o.out[1].x.begin() + i * a.keys;
        // threshmax adds its epsilon to a divisor that may be half of that.
        CHECK(std::abs(std::accumulate(begin, begin + a.keys, 0.0) - 1) <= tolerance + 4e-12);
      }
    }
    for (const AttentionPort port : {kQuery, kKey, kValue, kBias}) {
      if (o.din[port].empty()) continue;
      INFO("gradient of input " << port);
      CHECK(!has_nan(o.din[port]));
      if (magnitude <= 1e15) CHECK(all_finite(o.din[port]));
    }
    if (dtype == ATTN_F32 && form != Form::bias_and_small_scores) {
      // The same numbers in float64; those of float32 are what it reads.
      const Outcome d = t.run({ATTN_F64}, &dout);
      CHECK(largest_difference(o.din[kValue], d.din[kValue]) <= 8 * tolerance);
      if (!d.din[kBias].empty())
        CHECK(largest_difference(o.din[kBias], d.din[kBias]) <= 8 * tolerance);
    }
  }
}

}  // namespace

TEST_CASE("scores of every magnitude: attention gives weights that sum to 1, and gradients") {
  at_each_level_and_dtype([&](int32_t dtype) {
    for (const int64_t kind : kKinds)
      for (const Form form : kForms)
        for (const double magnitude : magnitudes(dtype)) {
          check({.kind = kind}, form, magnitude, dtype);
          check({.kind = kind, .queries = 1}, form, magnitude, dtype);
        }
  });
}

TEST_CASE("scores of every magnitude: many keys, in parts as a decoder reads them and in blocks") {
  at_each_level_and_dtype([&](int32_t dtype) {
    for (const Form form : kForms)
      for (const double magnitude : magnitudes(dtype)) {
        check({.keys = 700}, form, magnitude, dtype);
        check({.queries = 4 * kPatterns, .keys = 700, .tile = 128}, form, magnitude, dtype);
      }
    for (const int64_t kind : kKinds)
      for (const double magnitude : magnitudes(dtype))
        check({.kind = kind, .keys = 300}, Form::bias, magnitude, dtype);
  });
}

TEST_CASE("scores of every magnitude: dropout leaves outputs and gradients finite") {
  at_each_level_and_dtype([&](int32_t dtype) {
    for (const int64_t kind : kKinds)
      for (const double magnitude : magnitudes(dtype)) {
        INFO("kind " << kind << ", magnitude " << magnitude);
        Trial t = rows({.kind = kind, .dropout = 0.3}, Form::bias, magnitude, dtype).trial;
        const std::vector<double> dout = uniform({3 * kPatterns}, -1, 1, 9).x;
        const Outcome o = t.run({dtype}, &dout);
        CHECK(all_finite(o.out[0].x));
        for (const AttentionPort port : {kQuery, kKey, kValue, kBias})
          CHECK(all_finite(o.din[port]));
      }
  });
}

TEST_CASE("scores of every magnitude: a score below a bias of the lowest number is the lowest") {
  at_each_level_and_dtype([&](int32_t dtype) {
    const double lowest = dtype == ATTN_F64 ? -DBL_MAX : -static_cast<double>(FLT_MAX);
    for (const int64_t kind : kKinds)
      for (const double score : {-1.0, 1e-9 * lowest, 0.2 * lowest}) {
        INFO("kind " << kind << ", score " << score);
        // Row 0: each sum is below every number. Row 1: only that of key 0, and key 2 is masked.
        AttentionCase a{.kind = kind, .queries = 2, .keys = 3};
        Trial t = attention_trial(a);
        t.in[kQuery] = filled({1, 1, 2, 1}, rounded(score, dtype));
        t.in[kBias] = Values{{2, 3}, {lowest, lowest, lowest, lowest, 1, -kInfinity}};
        const std::vector<double> dout = uniform({6}, -1, 1, 9).x;
        for (const uint32_t wanted : {3u, 1u}) {
          t.wanted = wanted;
          const Outcome o = t.run({dtype}, &dout);
          for (const AttentionPort port : {kQuery, kKey, kValue, kBias})
            CHECK(!has_nan(o.din[port]));
          CHECK(all_finite(o.out[0].x));
          if (wanted == 1) continue;
          const std::vector<double> third(3, 1.0 / 3), second{0, 1, 0};
          CHECK(largest_difference({o.out[1].x.begin(), o.out[1].x.begin() + 3}, third) < 1e-6);
          CHECK(largest_difference({o.out[1].x.begin() + 3, o.out[1].x.end()}, second) < 1e-6);
        }
      }
  });
}

TEST_CASE("scores of every magnitude: the rows of probability and activation, over any axis") {
  at_each_level_and_dtype([&](int32_t dtype) {
    for (const int64_t kind : kKinds)
      for (const double magnitude : magnitudes(dtype))
        for (const bool masked : {false, true}) {
          INFO("kind " << kind << ", magnitude " << magnitude << ", masked " << masked);
          const int64_t K = 37;
          Values z = filled({kPatterns, K}, 0), across = filled({K, kPatterns}, 0);
          std::vector<double> expected, expected_across(static_cast<size_t>(kPatterns * K));
          for (int64_t i = 0; i < kPatterns; ++i) {
            std::vector<double> row;
            for (int64_t j = 0; j < K; ++j) {
              double x = rounded(rounded(magnitude, dtype) * pattern(i, j, K), dtype);
              if (masked && (i == 1 || (i + j) % 4 == 0)) x = -kInfinity;  // row 1: nothing else
              row.push_back(x);
              z.x[static_cast<size_t>(i * K + j)] = x;
              across.x[static_cast<size_t>(j * kPatterns + i)] = x;
            }
            const std::vector<double> w = weights_of(kind, row);
            expected.insert(expected.end(), w.begin(), w.end());
            for (int64_t j = 0; j < K; ++j)
              expected_across[static_cast<size_t>(j * kPatterns + i)] = w[static_cast<size_t>(j)];
          }
          const auto examine = [&](Trial t, const Values& scores, const std::vector<double>& w) {
            t.in[0] = scores;
            const std::vector<double> dout = uniform({kPatterns * K}, -1, 1, 9).x;
            const Outcome o = t.run({dtype}, &dout);
            CHECK(largest_difference(o.out[0].x, w) <= weight_tolerance(dtype));
            CHECK(all_finite(o.din[0]));
            if (dtype == ATTN_F32)
              CHECK(largest_difference(o.din[0], t.run({ATTN_F64}, &dout).din[0]) <=
                    8 * weight_tolerance(dtype));
          };
          examine(probability_trial(kind, -1), z, expected);
          examine(probability_trial(kind, -2), across, expected_across);
          examine(activation_trial(kind), z, expected);
        }
  });
}
