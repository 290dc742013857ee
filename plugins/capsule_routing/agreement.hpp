// SPDX-License-Identifier: Apache-2.0
//
// Routing by agreement among a few inputs, from their Gram matrix alone (Sabour, Frosst, Hinton 2017, procedure 1):
// with s = sum_i c_i u_i, |s|^2 = c^T G c and u_i . s = (G c)_i. In double whatever the tensors hold: the numbers are
// few.
#pragma once

#include <attn/sdk/worker_memory.hpp>

#include <algorithm>
#include <cstdint>

#include "low_rank.hpp"

namespace capsule {

inline double inner(int64_t n, const double* x, const double* y) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += x[i] * y[i];
  return sum;
}

// All rounds over n inputs; memory is kept from forward() to backward().
class Agreement {
 public:
  Agreement(const OpCall& c, const attn_view* slope, int64_t n, int64_t rounds, double eps)
      : weigh_(c, slope),
        constant_(is_adaptive(probability_options(c).kind)),
        n_(n),
        rounds_(rounds),
        eps_(eps) {}
  struct Memory {
    double *rounds, *db, *dc, *dgc, *dz, *scratch;
  };
  [[nodiscard]] Memory memory(Arena& a) const {
    return {a.take<double>(rounds_ * (3 * n_ + 2)),
            a.take<double>(n_),
            a.take<double>(n_),
            a.take<double>(n_),
            a.take<double>(n_),
            a.take<double>(3 * n_)};
  }

  // gamma (n) from the Gram matrix g (n, n): the capsule is sum_i gamma_i u_i.
  void forward(const double* g, const Memory& m, double* gamma) const {
    for (int64_t t = 0; t < rounds_; ++t) {
      const Round r = round(m, t);
      if (t == 0) std::fill_n(r.logits, n_, 0.0);
      // Over its output capsules, all equal, the adaptive rule gives every input the same share.
      if (constant_)
        std::fill_n(r.c, n_, 1 / static_cast<double>(n_));
      else
        weigh_.forward(1, n_, r.logits, 0, r.c, 0);
      for (int64_t i = 0; i < n_; ++i) r.gc[i] = inner(n_, g + i * n_, r.c);
      *r.n2 = inner(n_, r.c, r.gc);
      *r.factor = squash_factor(std::max(*r.n2, 0.0), eps_);
      if (t + 1 < rounds_) {
        double* next = round(m, t + 1).logits;
        for (int64_t i = 0; i < n_; ++i) next[i] = r.logits[i] + *r.factor * r.gc[i];
      } else {
        for (int64_t i = 0; i < n_; ++i) gamma[i] = *r.factor * r.c[i];
      }
    }
  }

  [[nodiscard]] int64_t rounds() const { return rounds_; }
  // The n coefficients c of round t, after forward().
  [[nodiscard]] const double* coefficients(const Memory& m, int64_t t) const {
    return round(m, t).c;
  }

  // dg (n, n, written) from dgamma; returns the gradient of the slope.
  double backward(const double* g, const Memory& m, const double* dgamma, double* dg) const {
    double *db = m.db, *dc = m.dc, *dgc = m.dgc;  // db: of the logits of the round after
    std::fill_n(dg, n_ * n_, 0.0);
    std::fill_n(db, n_, 0.0);
    double dslope = 0;
    for (int64_t t = rounds_ - 1; t >= 0; --t) {
      const Round r = round(m, t);
      const double n2 = *r.n2, factor = *r.factor;
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
      if (constant_) continue;
      dslope += weigh_.backward(n_, r.logits, dc, m.dz, m.scratch);
      for (int64_t i = 0; i < n_; ++i) db[i] += m.dz[i];
    }
    return dslope;
  }

 private:
  struct Round {
    double *logits, *c, *gc, *n2, *factor;
  };
  [[nodiscard]] Round round(const Memory& m, int64_t t) const {
    double* p = m.rounds + t * (3 * n_ + 2);
    return {p, p + n_, p + 2 * n_, p + 3 * n_, p + 3 * n_ + 1};
  }

  ProbabilityRows<double> weigh_;
  bool constant_;
  int64_t n_, rounds_;
  double eps_;
};

}  // namespace capsule
