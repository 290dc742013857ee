// SPDX-License-Identifier: Apache-2.0
//
// global_response (Woo et al. 2023, arXiv 2301.00808, section 3.2; here with eps in both places):
// x (B, ..., C). n_c = sqrt(sum of x^2 over the middle axes + eps); g = n / (mean of n over C + eps);
// y = x + gamma x g + beta. Rows are the channels of one position, numbered batch by batch.
#pragma once

#include "core/ops/norm_args.hpp"

namespace attn::ops::norms {

template <class T>
struct GlobalResponse {
  int64_t channels, batch, positions;
  double* n;   // (batch, channels)
  double* mu;  // (batch): mean of n, plus eps
  const T* gamma;
  const T* beta;

  GlobalResponse(const OpCall& c, const Rows<2>& rows) {
    Parallel& p = parallel(c);
    const attn_view& x = *c.in(kX);
    channels = rows.length(), batch = x.shape[0], positions = rows.count() / batch;
    n = p.scratch_array<double>(static_cast<size_t>(batch * channels));
    mu = p.scratch_array<double>(static_cast<size_t>(batch));
    gamma = weights<T>(c, kW0);
    beta = weights<T>(c, kW1);
    const Buffers<T> buffers(p, channels);
    for (int64_t b = 0; b < batch; ++b) {
      const double* squares = chunked_sums(
          p, positions, channels, channels,
          [&](int64_t begin, int64_t end, double* mine, int worker) {
            rows.each_of(b * positions + begin, b * positions + end, [&](auto o, int64_t) {
              const T* row = rows.inner(0).read(data<T>(x) + o[0], buffers.get(worker));
              for (int64_t i = 0; i < channels; ++i)
                mine[i] += static_cast<double>(row[i]) * static_cast<double>(row[i]);
            });
          });
      double sum = 0;
      for (int64_t i = 0; i < channels; ++i) {
        n[b * channels + i] = std::sqrt(squares[i] + epsilon(c));
        sum += n[b * channels + i];
      }
      mu[b] = sum / static_cast<double>(channels) + epsilon(c);
    }
  }
  [[nodiscard]] double g(int64_t b, int64_t i) const { return n[b * channels + i] / mu[b]; }
  // dy/dx with g held: 1 + gamma g, for one batch element.
  void slopes(int64_t b, T* to) const {
    for (int64_t i = 0; i < channels; ++i)
      to[i] = static_cast<T>(1 + static_cast<double>(gamma[i]) * g(b, i));
  }
};

template <class T>
void global_forward(const OpCall& c) {
  const attn_view &x = *c.in(kX), &y = *c.out(0);
  const Rows<2> rows({&x, &y}, axes(c));
  if (rows.length() == 0 || rows.count() == 0) return;
  const GlobalResponse<T> all(c, rows);
  const int64_t n = all.channels;
  T* slopes = parallel(c).scratch_array<T>(static_cast<size_t>(all.batch * n));
  for (int64_t b = 0; b < all.batch; ++b) all.slopes(b, slopes + b * n);
  const Buffers<T> buffers(parallel(c), n, 2);
  rows.each(parallel(c), [&](auto o, int64_t row, int worker) {
    const T* in = rows.inner(0).read(data<T>(x) + o[0], buffers.get(worker));
    T* out = rows.inner(1).target(data<T>(y) + o[1], buffers.get(worker, 1));
    const T* slope = slopes + row / all.positions * n;
    for (int64_t i = 0; i < n; ++i) out[i] = in[i] * slope[i] + (all.beta ? all.beta[i] : T(0));
    rows.inner(1).write(data<T>(y) + o[1], out);
  });
}

template <class T>
void global_vjp(const OpCall& c) {
  const attn_view &x = *c.in(kX), &dy = *c.dout(0);
  const Rows<2> plain({&x, &x}, axes(c));
  const Rows<3> rows({&x, &dy, c.din(kX)}, axes(c));
  if (rows.length() == 0 || rows.count() == 0) return;
  Parallel& p = parallel(c);
  const GlobalResponse<T> all(c, plain);
  const int64_t n = all.channels;
  const Buffers<T> buffers(p, n, 3);
  double* dgamma = p.scratch_array<double>(static_cast<size_t>(2 * n));
  double* dbeta = dgamma + n;
  std::fill_n(dgamma, 2 * n, 0.0);
  // dx = dy slope + x dn / n
  T* slopes = p.scratch_array<T>(static_cast<size_t>(all.batch * n));
  T* pull = p.scratch_array<T>(static_cast<size_t>(all.batch * n));
  for (int64_t b = 0; b < all.batch; ++b) {
    const double* sums = chunked_sums(
        p, all.positions, n, 2 * n, [&](int64_t begin, int64_t end, double* mine, int worker) {
          const int64_t first = b * all.positions;
          rows.each_of(first + begin, first + end, [&](auto o, int64_t) {
            const T* in = rows.inner(0).read(data<T>(x) + o[0], buffers.get(worker));
            const T* g = rows.inner(1).read(data<T>(dy) + o[1], buffers.get(worker, 1));
            for (int64_t i = 0; i < n; ++i) {
              mine[i] += static_cast<double>(g[i]) * static_cast<double>(in[i]);
              mine[n + i] += static_cast<double>(g[i]);
            }
          });
        });
    double along = 0;  // sum of dg n
    for (int64_t i = 0; i < n; ++i) {
      dgamma[i] += sums[i] * all.g(b, i);
      dbeta[i] += sums[n + i];
      along += sums[i] * static_cast<double>(all.gamma[i]) * all.n[b * n + i];
    }
    all.slopes(b, slopes + b * n);
    for (int64_t i = 0; i < n; ++i) {
      const double dn = sums[i] * static_cast<double>(all.gamma[i]) / all.mu[b] -
                        along / (all.mu[b] * all.mu[b] * static_cast<double>(n));
      pull[b * n + i] = static_cast<T>(dn / all.n[b * n + i]);
    }
  }
  if (c.din(kW0)) add_to<T>(*c.din(kW0), dgamma);
  if (c.din(kW1)) add_to<T>(*c.din(kW1), dbeta);
  if (!c.din(kX)) return;
  rows.each(p, [&](auto o, int64_t row, int worker) {
    const T* in = rows.inner(0).read(data<T>(x) + o[0], buffers.get(worker));
    const T* g = rows.inner(1).read(data<T>(dy) + o[1], buffers.get(worker, 1));
    const int64_t at = row / all.positions * n;
    T* dx = buffers.get(worker, 2);
    for (int64_t i = 0; i < n; ++i) dx[i] = g[i] * slopes[at + i] + in[i] * pull[at + i];
    rows.inner(2).add(data<T>(*c.din(kX)) + o[2], dx);
  });
}

}  // namespace attn::ops::norms
