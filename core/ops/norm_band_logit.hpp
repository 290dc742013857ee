// SPDX-License-Identifier: Apache-2.0
//
// band_logit: L = sqrt(max(sum x^2, eps)) of each row; u = layer norm of L over its last axis, which has
// one element when that axis is normalised away (then u = beta exactly);
// y = x / L ((1 - w) + w (tanh(4 u) + 1) / 2).
//
// Rows are numbered row-major, so that each group of m neighbouring rows is one line of L's last axis.
#pragma once

#include "core/ops/norm_args.hpp"

namespace attn::ops::norms {

template <class T>
struct BandLogit {
  int64_t m;       // rows that share a layer norm
  double* length;  // L of each row
  double* gain;    // (1 - w) + w (tanh(4 u) + 1) / 2
  double* slope;   // d gain / d u
  double* h;       // (L - mean) / sd
  double* sd;      // of the group that the row is in
  bool* moves;     // L depends on x

  BandLogit(const OpCall& c, const Rows<2>& rows) {
    Parallel& p = parallel(c);
    const auto count = static_cast<size_t>(rows.count()) + 1;
    const attn_view& x = *c.in(kX);
    const bool last = axes(c) >> (x.rank - 1) & 1u;
    m = last ? 1 : x.shape[x.rank - 1];
    double* memory = p.scratch_array<double>(5 * count);
    length = memory, gain = memory + count, slope = memory + 2 * count, h = memory + 3 * count,
    sd = memory + 4 * count;
    moves = p.scratch_array<bool>(count);
    const kernels::RowNorm<T> k = row_norm<T>(c, rows.length());
    const Buffers<T> buffers(p, rows.length());
    rows.each(p, [&](auto o, int64_t row, int worker) {
      const T* in = rows.inner(0).read(data<T>(x) + o[0], buffers.get(worker));
      const auto s = kernels::reference::row_statistics(k, in);
      length[row] = static_cast<double>(s.r);
      moves[row] = s.moves;
    });
    const T* gamma = weights<T>(c, kW0);
    const T* beta = weights<T>(c, kW1);
    const double w = constant(c), eps = epsilon(c);
    p.loop(rows.count() / m, 256, [&](int64_t begin, int64_t end, int) {
      for (int64_t first = begin * m; first < end * m; first += m) {
        double mean = 0, variance = 0;
        for (int64_t i = first; i < first + m; ++i) mean += length[i];
        mean /= static_cast<double>(m);
        for (int64_t i = first; i < first + m; ++i)
          variance += (length[i] - mean) * (length[i] - mean);
        const double deviation = std::sqrt(variance / static_cast<double>(m) + eps);
        for (int64_t i = first; i < first + m; ++i) {
          sd[i] = deviation;
          h[i] = m == 1 ? 0 : (length[i] - mean) / deviation;
          const double u =
              h[i] * static_cast<double>(gamma[i - first]) + static_cast<double>(beta[i - first]);
          const double t = std::tanh(4 * u);
          gain[i] = (1 - w) + w * (t + 1) / 2;
          slope[i] = w * 2 * (1 - t * t);
        }
      }
    });
  }
};

template <class T>
void band_logit_forward(const OpCall& c) {
  const Rows<2> rows({c.in(kX), c.in(kX)}, axes(c));
  if (rows.length() == 0 || rows.count() == 0) return;
  const BandLogit<T> all(c, rows);
  kernels::RowNorm<T> k = row_norm<T>(c, rows.length());
  k.gain = static_cast<T>(all.gain[0]);  // of all rows when m is 1
  forward_rows<T>(c, k, all.m > 1, [&](kernels::RowNorm<T>& r, int64_t row) {
    r.gain = static_cast<T>(all.gain[row]);
  });
}

template <class T>
void band_logit_vjp(const OpCall& c) {
  const Rows<2> plain({c.in(kX), c.in(kX)}, axes(c));
  const Rows<3> rows({c.in(kX), c.dout(0), c.din(kX)}, axes(c));
  const int64_t n = rows.length(), count = rows.count();
  if (n == 0 || count == 0) return;
  Parallel& p = parallel(c);
  const BandLogit<T> all(c, plain);
  const int64_t m = all.m;
  const T* gamma = weights<T>(c, kW0);
  const kernels::RowNorm<T> k = row_norm<T>(c, n);
  const Buffers<T> buffers(p, n, 5);
  // First the part with gain held; it gives the gradient of every gain.
  double* du = p.scratch_array<double>(static_cast<size_t>(count));
  (void)chunked_sums(
      p, count, n, 2 * n + 1, [&](int64_t begin, int64_t end, double* sums, int worker) {
        backward_rows<T>(
            c, k, begin, end, rows, buffers, worker, sums,
            [&](kernels::RowNorm<T>& r, int64_t row) { r.gain = static_cast<T>(all.gain[row]); },
            [&](int64_t row, const T*, double dgain, T*) { du[row] = dgain * all.slope[row]; });
      });
  const double* sums =
      chunked_sums(p, count / m, m, 2 * m, [&](int64_t begin, int64_t end, double* mine, int) {
        for (int64_t i = begin * m; i < end * m; ++i) {
          mine[i % m] += du[i] * all.h[i];
          mine[m + i % m] += du[i];
        }
      });
  if (c.din(kW0)) add_to<T>(*c.din(kW0), sums);
  if (c.din(kW1)) add_to<T>(*c.din(kW1), sums + m);
  if (m == 1 || !c.din(kX)) return;
  // Then through u to L, and dL / dx = x / L.
  const Rows<2> to({c.din(kX), c.in(kX)}, axes(c));
  const Buffers<T> more(p, n, 2);
  to.each(p, [&](auto o, int64_t row, int worker) {
    if (!all.moves[row]) return;
    const int64_t first = row / m * m;
    double mean = 0, along = 0;
    for (int64_t i = 0; i < m; ++i) {
      const double v = du[first + i] * static_cast<double>(gamma[i]);
      mean += v / static_cast<double>(m);
      along += v * all.h[first + i] / static_cast<double>(m);
    }
    const double v = du[row] * static_cast<double>(gamma[row - first]);
    const double dlength = (v - mean - all.h[row] * along) / all.sd[row];
    const T* x = to.inner(1).read(data<T>(*c.in(kX)) + o[1], more.get(worker));
    T* dx = more.get(worker, 1);
    for (int64_t i = 0; i < n; ++i) dx[i] = static_cast<T>(dlength / all.length[row]) * x[i];
    to.inner(0).add(data<T>(*c.din(kX)) + o[0], dx);
  });
}

}  // namespace attn::ops::norms
