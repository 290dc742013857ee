// SPDX-License-Identifier: Apache-2.0
#include "agreement.hpp"

#include <algorithm>

namespace capsule {
namespace {

using Kind = Probability::Kind;

// Temperature by the entropy, and its derivative where it moves.
void set_temperature(const Rule& rule, double entropy, RuleRow& row) {
  double value = 0, slope = 0;  // of the polynomial, highest degree first
  for (const double a : rule.coefficients) {
    slope = slope * entropy + value;
    value = value * entropy + a;
  }
  const bool above = entropy > rule.threshold;
  if (rule.kind == Kind::adaptive_paper) {
    if (!above || value <= 1) return;
    row.temperature = 1 / value;
    row.temperature_slope = -slope / (value * value);
    return;
  }
  const double range = rule.max_temp - rule.min_temp;
  if (above) {
    row.temperature = rule.min_temp + range * std::clamp(value, 0.0, 1.0);
    if (value >= 0 && value <= 1 && row.temperature >= rule.epsilon)
      row.temperature_slope = range * slope;
  }
  row.temperature = std::max(row.temperature, rule.epsilon);
}

// What the entropy sums up: of p clipped to [epsilon, 1 - epsilon], of p itself in the paper's form.
double entropy_term(const Rule& rule, double p) {
  if (rule.kind == Kind::adaptive) p = std::clamp(p, rule.epsilon, 1 - rule.epsilon);
  return p == 0 ? 0 : -p * std::log(p);
}
bool moves_entropy(const Rule& rule, double p) {
  return rule.kind == Kind::adaptive ? p >= rule.epsilon && p <= 1 - rule.epsilon : p > 0;
}

double exponentials(int64_t n, const double* z, double max, double temperature, double* w) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += w[i] = std::exp((z[i] - max) / temperature);
  for (int64_t i = 0; i < n; ++i) w[i] /= sum;
  return sum;
}

// Martins, Astudillo 2016, algorithm 1: the set above the threshold shrinks until it is stable.
void sparsemax(int64_t n, const double* z, double max, double* w) {
  double tau = -1;
  for (;;) {
    double sum = 0, count = 0;
    for (int64_t i = 0; i < n; ++i)
      if (!(z[i] - max <= tau)) sum += z[i] - max, count += 1;  // NaN as well
    const double next = (sum - 1) / count;
    if (next <= tau) break;
    tau = next;
    if (std::isnan(tau)) break;
  }
  for (int64_t i = 0; i < n; ++i) w[i] = z[i] - max <= tau ? 0 : z[i] - max - tau;
}

double inner(int64_t n, const double* x, const double* y) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += x[i] * y[i];
  return sum;
}

}  // namespace

RuleRow weigh(const Rule& rule, int64_t n, const double* z, double* w) {
  RuleRow row{*std::max_element(z, z + n), 0, 0, 0, 1};
  if (rule.kind == Kind::sparsemax) {
    sparsemax(n, z, row.max, w);
    return row;
  }
  row.sum = exponentials(n, z, row.max, 1, w);
  if (rule.kind == Kind::threshmax) {
    row.gated = rule.epsilon;
    for (int64_t i = 0; i < n; ++i) {
      w[i] *= (std::tanh(rule.slope * (w[i] - 1 / static_cast<double>(n))) + 1) / 2;
      row.gated += w[i];
    }
    for (int64_t i = 0; i < n; ++i) w[i] /= row.gated;
  } else if (Probability::is_adaptive(rule.kind)) {
    double entropy = 0;
    for (int64_t i = 0; i < n; ++i) entropy += entropy_term(rule, w[i]);
    set_temperature(rule, entropy, row);
    exponentials(n, z, row.max, row.temperature, w);
  }
  return row;
}

double weigh_back(const Rule& rule, const RuleRow& row, int64_t n, const double* z, const double* w,
                  const double* dw, double* dz, double* scratch) {
  const double mean = inner(n, dw, w);
  const auto softmax_of = [&](int64_t i) { return std::exp(z[i] - row.max) / row.sum; };
  // dz += p (dp - p . dp), dp in scratch.
  const auto through_softmax = [&] {
    double shift = 0;
    for (int64_t i = 0; i < n; ++i) shift += softmax_of(i) * scratch[i];
    for (int64_t i = 0; i < n; ++i) dz[i] += softmax_of(i) * (scratch[i] - shift);
  };
  double dslope = 0;
  switch (rule.kind) {
    case Kind::softmax:
      for (int64_t i = 0; i < n; ++i) dz[i] += w[i] * (dw[i] - mean);
      break;
    case Kind::sparsemax: {
      double sum = 0, count = 0;
      for (int64_t i = 0; i < n; ++i)
        if (w[i] > 0) sum += dw[i], count += 1;
      for (int64_t i = 0; i < n; ++i)
        if (w[i] > 0) dz[i] += dw[i] - sum / count;
      break;
    }
    case Kind::threshmax:
      for (int64_t i = 0; i < n; ++i) {
        const double p = softmax_of(i), d = p - 1 / static_cast<double>(n);
        const double t = std::tanh(rule.slope * d), dy = (dw[i] - mean) / row.gated;
        scratch[i] = dy * ((t + 1) / 2 + p * rule.slope * (1 - t * t) / 2);
        dslope += dy * p * d * (1 - t * t) / 2;
      }
      through_softmax();
      break;
    case Kind::adaptive:
    case Kind::adaptive_paper: {
      double dtemperature = 0;
      for (int64_t i = 0; i < n; ++i) {
        const double du = w[i] * (dw[i] - mean);
        dz[i] += du / row.temperature;
        dtemperature -= du * (z[i] - row.max) / (row.temperature * row.temperature);
      }
      if (row.temperature_slope == 0) break;
      const double dentropy = dtemperature * row.temperature_slope;
      for (int64_t i = 0; i < n; ++i) {
        const double p = softmax_of(i);
        scratch[i] = moves_entropy(rule, p) ? -dentropy * (std::log(p) + 1) : 0;
      }
      through_softmax();
      break;
    }
  }
  return dslope;
}

void Agreement::forward(const double* g, double* memory, double* gamma) const {
  for (int64_t t = 0; t < rounds_; ++t) {
    const Round r = round(memory, t);
    if (t == 0) std::fill_n(r.logits, n_, 0.0);
    RuleRow kept{};
    // Over its output capsules, all equal, the adaptive rule gives every input the same share.
    if (constant())
      std::fill_n(r.c, n_, 1 / static_cast<double>(n_));
    else
      kept = weigh(rule_, n_, r.logits, r.c);
    for (int64_t i = 0; i < n_; ++i) r.gc[i] = inner(n_, g + i * n_, r.c);
    const double n2 = inner(n_, r.c, r.gc), factor = squash_factor(std::max(n2, 0.0), eps_);
    const double rest[7] = {
        n2, factor, kept.max, kept.sum, kept.gated, kept.temperature_slope, kept.temperature};
    std::copy_n(rest, 7, r.rest);
    if (t + 1 < rounds_) {
      double* next = round(memory, t + 1).logits;
      for (int64_t i = 0; i < n_; ++i) next[i] = r.logits[i] + factor * r.gc[i];
    } else {
      for (int64_t i = 0; i < n_; ++i) gamma[i] = factor * r.c[i];
    }
  }
}

double Agreement::backward(const double* g, double* memory, const double* dgamma,
                           double* dg) const {
  double* db = memory + rounds_ * (3 * n_ + 7);  // of the logits of the round after
  double *dc = db + n_, *dgc = dc + n_, *scratch = dgc + n_;
  std::fill_n(dg, n_ * n_, 0.0);
  std::fill_n(db, n_, 0.0);
  double dslope = 0;
  for (int64_t t = rounds_ - 1; t >= 0; --t) {
    const Round r = round(memory, t);
    const double n2 = r.rest[0], factor = r.rest[1];
    const bool last = t + 1 == rounds_;
    const double dfactor = last ? inner(n_, dgamma, r.c) : inner(n_, db, r.gc);
    for (int64_t i = 0; i < n_; ++i) {
      dc[i] = last ? factor * dgamma[i] : 0;
      dgc[i] = last ? 0 : factor * db[i];
    }
    if (n2 >= 0) {
      const double dn2 = dfactor * squash_slope(n2, eps_);
      for (int64_t i = 0; i < n_; ++i) {
        dc[i] += dn2 * r.gc[i];
        dgc[i] += dn2 * r.c[i];
      }
    }
    for (int64_t i = 0; i < n_; ++i)
      for (int64_t j = 0; j < n_; ++j) {
        dg[i * n_ + j] += dgc[i] * r.c[j];
        dc[j] += g[i * n_ + j] * dgc[i];
      }
    if (constant()) continue;
    const RuleRow kept{r.rest[2], r.rest[3], r.rest[4], r.rest[5], r.rest[6]};
    dslope += weigh_back(rule_, kept, n_, r.logits, r.c, dc, db, scratch);
  }
  return dslope;
}

}  // namespace capsule
