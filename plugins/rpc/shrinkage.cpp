// SPDX-License-Identifier: Apache-2.0
#include "shrinkage.hpp"

#include <algorithm>
#include <cmath>

namespace rpc {
namespace {

constexpr int64_t kBlock = 48;  // rows of M^T M at a time

// Upper bounds of the largest singular value.
double norm_bound(int64_t n, int64_t ld, const double* m, double* columns) {
  double squares = 0, most = 0;
  std::fill_n(columns, n, 0.0);
  for (int64_t i = 0; i < n; ++i) {
    double row = 0;
    for (int64_t j = 0; j < n; ++j) {
      const double x = std::fabs(m[i * ld + j]);
      squares += x * x;
      row += x;
      columns[j] += x;
    }
    most = std::max(most, row);
  }
  return std::sqrt(std::min(squares, most * *std::max_element(columns, columns + n)));
}

}  // namespace

Thresholding::Thresholding(const Kernels& kernels, int64_t n, double tau, Arena& memory)
    : kernels_(kernels), eigen_(kernels.matrix, n, memory), tau_(tau) {
  for (double*& x : x_) x = memory.take<double>(n * padded(n));
  values_ = memory.take<double>(n);
  which_ = memory.take<int64_t>(n);
}

void Thresholding::apply(int64_t n, int64_t ld, const double* m, double* l, Spectrum& s,
                         bool complete) {
  s.r = 0;
  std::fill_n(l, n * ld, 0.0);
  const double bound = norm_bound(n, ld, m, values_);
  if (bound <= tau_) return;
  if (!std::isfinite(bound)) {
    std::copy_n(m, n * ld, l);  // nothing can be said; what is not finite stays so
    return;
  }
  // M^T M: blocks on and above the diagonal, then mirrored.
  double *gram = x_[0], *mv = x_[1];
  for (int64_t i = 0; i < n; i += kBlock) {
    const int64_t rows = std::min(kBlock, n - i);
    multiply(rows, n - i, n, {m + i, 1, ld}, {m + i, ld}, gram + i * ld + i, ld);
  }
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j < i; ++j) gram[i * ld + j] = gram[j * ld + i];
    std::fill(gram + i * ld + n, gram + (i + 1) * ld, 0.0);
  }
  eigen_.decompose(n, ld, gram, values_);
  const auto above = [&](int64_t i) { return std::sqrt(std::max(values_[i], 0.0)) > tau_; };
  int64_t count = 0;
  for (int64_t i = 0; i < n; ++i)
    if (above(i)) which_[count++] = i;
  s.r = count;
  if (complete)
    for (int64_t i = 0; i < n; ++i)
      if (!above(i)) which_[count++] = i;
  for (int64_t i = 0; i < count; ++i) s.sigma[i] = std::sqrt(std::max(values_[which_[i]], 0.0));
  eigen_.vectors(count, which_, s.v);
  if (s.r == 0) return;
  // L = (M V) h V^T, rows of mv: h_i M v_i.
  multiply(s.r, n, n, {s.v, ld}, {m, 1, ld}, mv, ld);
  for (int64_t i = 0; i < s.r; ++i) {
    const double h = 1 - tau_ / s.sigma[i];
    for (int64_t j = 0; j < n; ++j) mv[i * ld + j] *= h;
  }
  multiply(n, n, s.r, {mv, 1, ld}, {s.v, ld}, l, ld);
}

// With T = U^T G V the adjoint is U X V^T, X_ij = a_ij (T_ij + T_ji) / 2 + b_ij (T_ij - T_ji) / 2,
//   a_ij = (f_i - f_j) / (sigma_i - sigma_j),  b_ij = (f_i + f_j) / (sigma_i + sigma_j),  f = max(sigma - tau, 0):
// all between 0 and 1, also where singular values are equal or 0. X vanishes where neither is above tau. For i above
// and j not, with d_ij = sigma_i^2 - sigma_j^2,
//   X_ij = f_i (sigma_i T_ij + sigma_j T_ji) / d_ij,   X_ji = f_i (sigma_i T_ji + sigma_j T_ij) / d_ij,
// and sigma_j u_j = M v_j, so that the left vectors of small singular values are never needed:
//   sum_j X_ji u_j = f_i / sigma_i (I - U U^T) G v_i + M sum_j v_j f_i (sigma_j T_ji / sigma_i + T_ij) / d_ij.
void Thresholding::adjoint(int64_t n, int64_t ld, const double* m, const Spectrum& s,
                           const double* g, double* out) {
  std::fill_n(out, n * ld, 0.0);
  const int64_t r = s.r, rest = n - r;
  if (r == 0) return;
  double *u = x_[0], *gv = x_[1], *gu = x_[2], *t = x_[3], *p = x_[4], *q = x_[5];
  const double *v = s.v, *others = s.v + r * ld;
  const auto f = [&](int64_t i) { return s.sigma[i] - tau_; };
  // Rows: u_i = M v_i / sigma_i, G v_i, G^T u_i.
  multiply(r, n, n, {v, ld}, {m, 1, ld}, u, ld);
  for (int64_t i = 0; i < r; ++i)
    for (int64_t j = 0; j < n; ++j) u[i * ld + j] /= s.sigma[i];
  multiply(r, n, n, {v, ld}, {g, 1, ld}, gv, ld);
  multiply(r, n, n, {u, ld}, {g, ld}, gu, ld);
  // t_ij = u_i . G v_j = (G^T u_i) . v_j for all j: the first r columns are T, the others p.
  multiply(r, n, n, {gu, ld}, {v, 1, ld}, p, ld);
  for (int64_t i = 0; i < r; ++i) std::copy_n(p + i * ld, r, t + i * ld);
  // q_ij = v_j . M^T G v_i = sigma_j T_ji.
  multiply(r, n, n, {gv, ld}, {m, ld}, gu, ld);
  multiply(r, n, n, {gu, ld}, {v, 1, ld}, q, ld);
  // Rows of the left factor: sum_j X_ij v_j. What goes with the others is kept in p and q.
  for (int64_t i = 0; i < r; ++i) {
    for (int64_t j = 0; j < r; ++j) {
      const double b = (f(i) + f(j)) / (s.sigma[i] + s.sigma[j]);
      const double x = t[i * ld + j], y = t[j * ld + i];
      p[i * ld + j] = (x + y) / 2 + b * (x - y) / 2;
    }
    for (int64_t j = r; j < n; ++j) {
      const double d = (s.sigma[i] - s.sigma[j]) * (s.sigma[i] + s.sigma[j]);
      const double x = p[i * ld + j], y = q[i * ld + j], scale = f(i) / d;
      p[i * ld + j] = scale * (s.sigma[i] * x + y);
      q[i * ld + j] = scale * (y / s.sigma[i] + x);
    }
  }
  multiply(r, n, n, {p, ld}, {v, ld}, gu, ld);
  multiply(n, n, r, {u, 1, ld}, {gu, ld}, out, ld);
  // The right factor: rows z_i, of w.
  for (int64_t i = 0; i < r; ++i) {
    const double scale = f(i) / s.sigma[i];
    for (int64_t j = 0; j < n; ++j) gv[i * ld + j] *= scale;
    for (int64_t k = 0; k < r; ++k) p[i * ld + k] = -scale * t[k * ld + i];
  }
  multiply(r, n, r, {p, ld}, {u, ld}, gv, ld, true);
  if (rest > 0) {
    multiply(r, n, rest, {q + r, ld}, {others, ld}, gu, ld);
    multiply(r, n, n, {gu, ld}, {m, 1, ld}, gv, ld, true);
  }
  multiply(n, n, r, {gv, 1, ld}, {v, ld}, out, ld, true);
}

Record::Record(int64_t n, int64_t sweeps, Arena& memory)
    : sparse(memory.take<double>(sweeps * n * padded(n))),
      sigma(memory.take<double>(sweeps * n)),
      v(memory.take<double>(sweeps * n * padded(n))),
      ranks(memory.take<int64_t>(sweeps + 1)) {}

Pursuit::Pursuit(const Kernels& kernels, const PursuitRule& rule, int64_t n, Arena& memory,
                 Arena* record)
    : rule_(rule),
      recorded_(record != nullptr),
      n_(n),
      size_(n * padded(n)),
      svt_(kernels, n, rule.tau, memory),
      a_(memory.take<double>(size_)),
      m_(memory.take<double>(size_)),
      l_(memory.take<double>(size_)),
      record_(n, record ? rule.sweeps : 1, record ? *record : memory) {}

void Pursuit::forward(int64_t n, int64_t ld, double* r) {
  const int64_t size = n * ld;
  int64_t sweeps = 0;
  for (int64_t t = 0; t < rule_.sweeps; ++t) {
    const double* before = t == 0 ? nullptr : sparse(t - 1);
    for (int64_t i = 0; i < size; ++i) m_[i] = a_[i] - (before ? before[i] : 0.0);
    Spectrum s = spectrum(t);
    svt_.apply(n, ld, m_, l_, s, recorded_);
    sweeps = t + 1;
    if (recorded_) record_.ranks[t] = s.r;
    double* after = sparse(t);
    bool same = true;
    for (int64_t i = 0; i < size; ++i) {
      const double x = a_[i] - l_[i], y = std::fabs(x) - rule_.lambda;
      const double next = y > 0 ? std::copysign(y, x) : 0.0;
      same = same && next == (before ? before[i] : 0.0);
      after[i] = next;
    }
    // All further sweeps would repeat this one.
    if (same) break;
  }
  if (recorded_) record_.ranks[rule_.sweeps] = sweeps;
  const double* last = sparse(sweeps - 1);
  for (int64_t i = 0; i < size; ++i) r[i] = l_[i] + last[i];
}

void Pursuit::backward(int64_t n, int64_t ld, double* gr, double* ga) {
  const int64_t size = n * ld, sweeps = record_.ranks[rule_.sweeps];
  std::fill_n(ga, size, 0.0);
  double* gs = gr;  // of the sparse part of the sweep
  double* gl = l_;  // of its low-rank part
  std::copy_n(gr, size, gl);
  for (int64_t t = rule_.sweeps - 1; t >= 0; --t) {
    // Where the forward pass stopped, all sweeps are alike.
    const int64_t at = std::min(t, sweeps - 1);
    const int64_t from = t >= sweeps ? sweeps - 1 : t - 1;  // whose sparse part it began with
    const double *after = sparse(at), *before = from < 0 ? nullptr : sparse(from);
    for (int64_t i = 0; i < size; ++i) {
      m_[i] = a_[i] - (before ? before[i] : 0.0);
      if (after[i] == 0) continue;
      ga[i] += gs[i];
      gl[i] -= gs[i];
    }
    Spectrum s = spectrum(at);
    s.r = record_.ranks[at];
    svt_.adjoint(n, ld, m_, s, gl, gs);
    for (int64_t i = 0; i < size; ++i) {
      ga[i] += gs[i];
      gs[i] = -gs[i];
      gl[i] = 0;
    }
  }
}

}  // namespace rpc
