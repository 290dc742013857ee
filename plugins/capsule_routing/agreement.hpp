// SPDX-License-Identifier: Apache-2.0
//
// Routing by agreement among a few inputs, from their Gram matrix alone (Sabour, Frosst, Hinton 2017, procedure 1):
// with s = sum_i c_i u_i, |s|^2 = c^T G c and u_i . s = (G c)_i. In double whatever the tensors hold: the numbers are
// few. Probabilities of one short row, forward and back, are here too.
#pragma once

#include <attn/sdk/plugin.hpp>

#include <cmath>
#include <cstdint>
#include <span>

#include "low_rank.hpp"

namespace capsule {

// The attributes that operators over a probability begin with, as this plugin's operators take them.
enum RuleAttribute {
  kKind,
  kAxes,
  kEpsilon,
  kMinTemp,
  kMaxTemp,
  kThreshold,
  kCoefficients,
  kRuleAttributes
};

struct Rule {
  Probability::Kind kind;
  double slope, epsilon, min_temp, max_temp, threshold;
  std::span<const double> coefficients;
};

// slope: of threshmax, 10 where there is none.
inline Rule rule_of(const OpCall& c, const attn_view* slope) {
  double s = 10;
  if (slope)
    s = slope->dtype == ATTN_F64 ? *data<const double>(*slope)
                                 : static_cast<double>(*data<const float>(*slope));
  return {static_cast<Probability::Kind>(c.integer(kKind)),
          s,
          c.real(kEpsilon),
          c.real(kMinTemp),
          c.real(kMaxTemp),
          c.real(kThreshold),
          c.reals(kCoefficients)};
}

// What the gradient of a row needs beside its weights.
struct RuleRow {
  double max, sum, gated, temperature_slope, temperature;
};

// w from z, n >= 1.
RuleRow weigh(const Rule& rule, int64_t n, const double* z, double* w);
// dz += gradient of the scores; returns the gradient of the slope. scratch: n.
double weigh_back(const Rule& rule, const RuleRow& row, int64_t n, const double* z, const double* w,
                  const double* dw, double* dz, double* scratch);

// All rounds over n inputs with the Gram matrix g (n, n).
class Agreement {
 public:
  Agreement(const Rule& rule, int64_t n, int64_t rounds, double eps)
      : rule_(rule), n_(n), rounds_(rounds), eps_(eps) {}
  // Doubles that one routing needs.
  [[nodiscard]] static size_t room(int64_t n, int64_t rounds) {
    return static_cast<size_t>(rounds * (3 * n + 7) + 6 * n + 8);
  }
  // gamma (n): the capsule is sum_i gamma_i u_i. memory: room() doubles, kept for backward().
  void forward(const double* g, double* memory, double* gamma) const;
  // dg (n, n, written) from dgamma; returns the gradient of the slope.
  double backward(const double* g, double* memory, const double* dgamma, double* dg) const;

 private:
  // One round in memory.
  struct Round {
    double *logits, *c, *gc, *rest;  // rest: n2, factor, and the RuleRow
  };
  [[nodiscard]] Round round(double* memory, int64_t t) const {
    double* p = memory + t * (3 * n_ + 7);
    return {p, p + n_, p + 2 * n_, p + 3 * n_};
  }
  [[nodiscard]] bool constant() const { return Probability::is_adaptive(rule_.kind); }

  Rule rule_;
  int64_t n_, rounds_;
  double eps_;
};

}  // namespace capsule
