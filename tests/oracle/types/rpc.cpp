// SPDX-License-Identifier: Apache-2.0
#include "tests/oracle/types/types.hpp"

namespace attn::oracle {

namespace {

// The nearest matrix of smaller singular values, sum of max(sigma - tau, 0) u v^T, of a square matrix: one-sided
// Jacobi rotations until all columns of M V are orthogonal.
std::vector<double> shrink_spectrum(std::vector<double> m, size_t n, double tau) {
  double squares = 0;
  for (const double e : m) squares += e * e;
  if (squares <= tau * tau) return std::vector<double>(n * n, 0.0);  // so is every singular value
  std::vector<double> v(n * n, 0.0);
  for (size_t i = 0; i < n; ++i) v[i * n + i] = 1;
  for (int sweep = 0; sweep < 60; ++sweep) {
    bool rotated = false;
    for (size_t p = 0; p + 1 < n; ++p)
      for (size_t q = p + 1; q < n; ++q) {
        double pp = 0, qq = 0, pq = 0;
        for (size_t i = 0; i < n; ++i) {
          pp += m[i * n + p] * m[i * n + p];
          qq += m[i * n + q] * m[i * n + q];
          pq += m[i * n + p] * m[i * n + q];
        }
        if (std::fabs(pq) <= 1e-15 * std::sqrt(pp * qq) || pq == 0) continue;
        rotated = true;
        const double zeta = (qq - pp) / (2 * pq);
        const double t = (zeta >= 0 ? 1 : -1) / (std::fabs(zeta) + std::sqrt(1 + zeta * zeta));
        const double c = 1 / std::sqrt(1 + t * t), s = c * t;
        for (std::vector<double>* matrix : {&m, &v})
          for (size_t i = 0; i < n; ++i) {
            double &a = (*matrix)[i * n + p], &b = (*matrix)[i * n + q];
            const double old = a;
            a = c * old - s * b;
            b = s * old + c * b;
          }
      }
    if (!rotated) break;
  }
  std::vector<double> out(n * n, 0.0);
  for (size_t k = 0; k < n; ++k) {
    double sigma = 0;
    for (size_t i = 0; i < n; ++i) sigma += m[i * n + k] * m[i * n + k];
    sigma = std::sqrt(sigma);
    if (sigma <= tau) continue;
    for (size_t i = 0; i < n; ++i)
      for (size_t j = 0; j < n; ++j)
        out[i * n + j] += (1 - tau / sigma) * m[i * n + k] * v[j * n + k];
  }
  return out;
}

// L + S after all sweeps.
std::vector<double> pursue(const Run& run, const std::vector<double>& a, size_t n) {
  const double lambda = run.number("lambda_sparse", 0.1), tau = run.number("svd_threshold", 1);
  std::vector<double> sparse(a.size(), 0.0), low(a.size(), 0.0);
  for (int64_t t = run.integer("max_pcp_iter", 10); t > 0; --t) {
    std::vector<double> rest(a.size());
    for (size_t i = 0; i < a.size(); ++i) rest[i] = a[i] - sparse[i];
    low = shrink_spectrum(rest, n, tau);
    for (size_t i = 0; i < a.size(); ++i) {
      const double e = a[i] - low[i];
      sparse[i] = (e > 0 ? 1 : -1) * std::max(std::fabs(e) - lambda, 0.0);
    }
  }
  for (size_t i = 0; i < a.size(); ++i) low[i] += sparse[i];
  return low;
}

}  // namespace

void rpc(Run& run) {
  const Tensor& x = run.need("inputs");
  const int64_t heads = run.integer("num_heads", 8), B = x.dim(0), n = x.dim(1);
  const bool biased = run.flag("qkv_bias", false);
  const Tensor qkv = run.layer("qkv_projection", x, biased);
  const Tensor q = qk_norm(run, "q_norm", split_heads(part(qkv, 0, 3), heads));
  const Tensor k = qk_norm(run, "k_norm", split_heads(part(qkv, 1, 3), heads));
  const Tensor v = split_heads(part(qkv, 2, 3), heads);
  Tensor A = scores_of(q, k, 1 / std::sqrt(static_cast<double>(q.dim(3))));
  const Probability p = probability(run, "attn_prob");
  const Tensor* mask = run.input("attention_mask");
  if (!mask) mask = run.input("mask");
  const Tensor keep = keep_mask(mask, B, heads, n, n), after = unmasked(keep, p.axes());

  const size_t size = static_cast<size_t>(n);
  for (int64_t b = 0; b < B; ++b)
    for (int64_t h = 0; h < heads; ++h) {
      std::vector<bool> present(size, false);
      bool any = false;
      for (int64_t j = 0; j < n; ++j)
        for (int64_t i = 0; i < n; ++i)
          if (keep.at(b, h, i, j) != 0) any = present[static_cast<size_t>(j)] = true;
      if (!any) present.assign(size, true);
      std::vector<double> inside(size * size, 0.0);
      const auto decomposed = [&](size_t i, size_t j) {
        return after.at(b, h, i, j) != 0 && present[i] && present[j];
      };
      for (size_t i = 0; i < size; ++i)
        for (size_t j = 0; j < size; ++j)
          if (decomposed(i, j)) inside[i * size + j] = A.at(b, h, i, j);
      const std::vector<double> r = pursue(run, inside, size);
      for (size_t i = 0; i < size; ++i)
        for (size_t j = 0; j < size; ++j)
          if (decomposed(i, j)) A.at(b, h, i, j) = r[i * size + j];
    }
  const Tensor w = weigh(run, p, A, keep);
  const double kept = kept_by_dropout(run, run.number("dropout_rate", 0));
  run.output("output", map(run.layer("output_projection", merge_heads(mix(w, v)), biased),
                           [=](double e) { return e * kept; }));
  const Json* scores = run.argument("return_attention_scores");
  if (scores && scores->as_bool()) run.output("attention_scores", w);
}

}  // namespace attn::oracle
