// SPDX-License-Identifier: Apache-2.0
//
// For score_range_test.cpp and score_nan_test.cpp: rows of scores of any magnitude, and their weights by the formulas
// of each kind, in double.
#pragma once

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>

#include "core/ops/op_test.hpp"

namespace attn::ops::testing {

// ProbabilityKind by number: softmax, sparsemax, threshmax, adaptive, and adaptive as in its paper.
inline constexpr int64_t kSoftmax = 0, kSparsemax = 1, kThreshmax = 2, kAdaptive = 3, kPaper = 4;
inline constexpr int64_t kKinds[] = {kSoftmax, kSparsemax, kThreshmax, kAdaptive, kPaper};
inline constexpr double kSlope = 6, kInfinity = std::numeric_limits<double>::infinity();

inline double epsilon_of(int64_t kind) { return kind == kThreshmax ? 1e-12 : 1e-7; }
inline Reals polynomial_of(int64_t kind) {
  return kind == kPaper ? Reals{-0.037, 0.481, -2.3, 4.917, -1.791}
                        : Reals{-1.791, 4.917, -2.3, 0.481, -0.037};
}

inline std::vector<double> softmax_of(const std::vector<double>& z, double factor) {
  const double max = *std::max_element(z.begin(), z.end());
  std::vector<double> w;
  for (const double x : z) w.push_back(std::exp((x - max) * factor));
  const double sum = std::accumulate(w.begin(), w.end(), 0.0);
  for (double& x : w) x /= sum;
  return w;
}

// Weights of one row; -infinity is masked. A row of nothing else counts as zeros.
inline std::vector<double> weights_of(int64_t kind, std::vector<double> z) {
  if (std::all_of(z.begin(), z.end(), [](double x) { return x == -kInfinity; }))
    std::fill(z.begin(), z.end(), 0.0);
  const double n = static_cast<double>(z.size());
  if (kind == kSparsemax) {
    const double max = *std::max_element(z.begin(), z.end());
    std::vector<double> falling;
    for (double& x : z) falling.push_back(x -= max);
    std::sort(falling.begin(), falling.end(), std::greater<>());
    double sum = 0, tau = 0;
    for (size_t k = 0; k < falling.size() && falling[k] > -1; ++k) {
      sum += falling[k];
      const double count = static_cast<double>(k + 1);
      if (1 + count * falling[k] - sum > 0) tau = (sum - 1) / count;
    }
    for (double& x : z) x = std::max(x - tau, 0.0);
    return z;
  }
  std::vector<double> p = softmax_of(z, 1);
  if (kind == kSoftmax) return p;
  if (kind == kThreshmax) {
    double sum = epsilon_of(kind);
    for (double& x : p) sum += x *= (std::tanh(kSlope * (x - 1 / n)) + 1) / 2;
    for (double& x : p) x /= sum;
    return p;
  }
  double entropy = 0, value = 0, factor = 1;
  for (const double x : p) {
    const double c = kind == kPaper ? x : std::clamp(x, 1e-7, 1 - 1e-7);
    if (c > 0) entropy -= c * std::log(c);
  }
  for (const double a : polynomial_of(kind)) value = value * entropy + a;
  if (entropy > 0.5)
    factor = kind == kPaper ? std::max(1.0, value) : 1 / (0.1 + 0.9 * std::clamp(value, 0.0, 1.0));
  return softmax_of(z, factor);
}

// Multiples of a magnitude: rows of equal scores, of steps, with one above all others, of both signs, and falling.
inline constexpr int64_t kPatterns = 5;
inline double pattern(int64_t row, int64_t j, int64_t n) {
  switch (row % kPatterns) {
    case 0:
      return -1;
    case 1:
      return -0.5 - 0.125 * static_cast<double>(j % 4);
    case 2:
      return j == n / 2 ? -0.5 : -1;
    case 3:
      return j % 3 == 0 ? 0.5 : -1;
    default:
      return -static_cast<double>(1 + j) / (n > 64 ? 1024 : 64);  // exact, and so is 32 times it
  }
}

// Each is either small, so that a score's rounding is as well, or so large that scores are equal or far apart.
inline std::vector<double> magnitudes(int32_t dtype) {
  std::vector<double> all{1, 32, 1e4, 1e9, 1e15, 1e30, FLT_MAX};
  if (dtype == ATTN_F64) all.insert(all.end(), {1e300, DBL_MAX});
  return all;
}
// Scores up to 32 carry the error of some roundings, which adaptive multiplies by 10, 1 / its lowest temperature.
inline double weight_tolerance(int32_t dtype) {
  return 16 * 32 * 10 * (dtype == ATTN_F64 ? 2.3e-16 : 1.2e-7);
}

inline double rounded(double x, int32_t dtype) {
  return dtype == ATTN_F32 ? static_cast<double>(static_cast<float>(x)) : x;
}

// f(dtype) at every level: float64 once, float32 at each.
template <class F>
void at_each_level_and_dtype(F&& f) {
  const cpu::Level before = cpu::level();
  for (const cpu::Level level : cpu::available()) {
    cpu::set_level(level);
    for (const int32_t dtype : {ATTN_F64, ATTN_F32}) {
      if (dtype == ATTN_F64 && level != before) continue;  // the same code at every level
      INFO("level " << cpu::name(level) << (dtype == ATTN_F64 ? ", float64" : ", float32"));
      f(dtype);
    }
  }
  cpu::set_level(before);
}

inline bool all_finite(const std::vector<double>& x) {
  return std::all_of(x.begin(), x.end(), [](double v) { return std::isfinite(v); });
}
inline bool has_nan(const std::vector<double>& x) {
  return std::any_of(x.begin(), x.end(), [](double v) { return std::isnan(v); });
}
inline bool all_nan(const std::vector<double>& x) {
  return std::all_of(x.begin(), x.end(), [](double v) { return std::isnan(v); });
}
inline double largest_difference(const std::vector<double>& a, const std::vector<double>& b) {
  double worst = a.size() == b.size() ? 0 : kInfinity;
  for (size_t i = 0; i < a.size() && i < b.size(); ++i)
    if (!(std::abs(a[i] - b[i]) <= worst)) worst = std::abs(a[i] - b[i]);  // NaN too
  return worst;
}

// ---- the operators -------------------------------------------------------------------------------

// q (1, 1, Q, D), k (1, 1, K, D), v (1, 1, K, 3), both in all.
struct AttentionCase {
  int64_t kind = kSoftmax, queries = kPatterns, keys = 37, tile = 0;
  bool causal = false;
  double dropout = 0;
};
enum AttentionPort { kQuery, kKey, kValue, kKeep, kBias, kSlopePort, kLengths };

inline Trial attention_trial(const AttentionCase& a) {
  Trial t{op_attention()};
  t.attrs = {a.kind,
             Axes{-1},
             epsilon_of(a.kind),
             0.1,
             1.0,
             0.5,
             polynomial_of(a.kind),
             1.0,
             a.causal,
             int64_t{a.keys - a.queries},
             int64_t{0},
             int64_t{0},
             int64_t{0},
             a.dropout,
             a.tile};
  t.wanted = 3;
  t.in.resize(7);
  t.in[kQuery] = filled({1, 1, a.queries, 1}, 0);
  t.in[kKey] = filled({1, 1, a.keys, 1}, 1);
  t.in[kValue] = uniform({1, 1, a.keys, 3});
  if (a.kind == kThreshmax) t.in[kSlopePort] = filled({1}, kSlope);
  return t;
}

inline Trial probability_trial(int64_t kind, int64_t axis) {
  Trial t{op_probability()};
  t.attrs = {kind, Axes{axis}, epsilon_of(kind), 0.1, 1.0, 0.5, polynomial_of(kind), int64_t{0}};
  t.in.resize(3);
  if (kind == kThreshmax) t.in[1] = filled({1}, kSlope);
  return t;
}

// ActivationKind of the same rows.
inline Trial activation_trial(int64_t kind) {
  Trial t{op_activation()};
  const int64_t number[] = {30, 32, 34, 33, 36};
  Reals constants;
  if (kind == kThreshmax) constants = {epsilon_of(kind)};
  if (kind == kAdaptive || kind == kPaper) {
    constants = {0.1, 1.0, 0.5, epsilon_of(kind)};
    const Reals p = polynomial_of(kind);
    constants.insert(constants.end(), p.begin(), p.end());
  }
  t.attrs = {number[kind], constants, int64_t{-1}};
  t.in.resize(3);
  if (kind == kThreshmax) t.in[1] = filled({1}, kSlope);
  return t;
}

}  // namespace attn::ops::testing
