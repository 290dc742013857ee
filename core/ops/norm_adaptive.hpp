// SPDX-License-Identifier: Apache-2.0
//
// adaptive_band_rms (zero_centered: of x - mean). r = max(sqrt(mean x^2 + eps), eps) of each row. One
// number a batch element: l = log(mean of r over its rows). z = l kernel + bias, P values;
// f = (1 - w) + w s(5 z); y = x / r f, f along the normalised axes (P = 1: the same everywhere).
// Axis 0 is the batch and never normalised, so that rows are numbered batch by batch.
#pragma once

#include "core/ops/norm_args.hpp"

namespace attn::ops::norms {

// Weights that a batch element has: as many as a row has elements, but one when rows are all of it.
inline int64_t adaptive_width(const OpCall& c) {
  const attn_view& x = *c.in(kX);
  const uint32_t all_but_batch = ((1u << x.rank) - 1) & ~1u;
  if (axes(c) == all_but_batch && x.rank > 2) return 1;
  int64_t n = 1;
  for (int a = 0; a < x.rank; ++a)
    if (axes(c) >> a & 1u) n *= x.shape[a];
  return n;
}

template <class T>
struct AdaptiveBand {
  int64_t n, batch, per_batch, width;
  double* mean_r;  // of each batch element
  T* f;            // (batch, n)
  double* slope;   // df / dz, (batch, width)
  const T* kernel;

  AdaptiveBand(const OpCall& c, const Rows<2>& rows) {
    Parallel& p = parallel(c);
    const attn_view& x = *c.in(kX);
    n = rows.length(), batch = x.shape[0], per_batch = rows.count() / batch;
    width = adaptive_width(c);
    mean_r = p.scratch_array<double>(static_cast<size_t>(batch));
    f = p.scratch_array<T>(static_cast<size_t>(batch * n));
    slope = p.scratch_array<double>(static_cast<size_t>(batch * width));
    double* r = p.scratch_array<double>(static_cast<size_t>(rows.count()));
    kernel = weights<T>(c, kW0);
    const T* bias = weights<T>(c, kW1);
    const kernels::RowNorm<T> k = row_norm<T>(c, n);
    const Buffers<T> buffers(p, n);
    rows.each(p, [&](auto o, int64_t row, int worker) {
      const T* in = rows.inner(0).read(data<T>(x) + o[0], buffers.get(worker));
      r[row] = static_cast<double>(kernels::reference::row_statistics(k, in).r);
    });
    const double w = constant(c);
    for (int64_t b = 0; b < batch; ++b) {
      double sum = 0;
      for (int64_t i = 0; i < per_batch; ++i) sum += r[b * per_batch + i];
      mean_r[b] = sum / static_cast<double>(per_batch);
      for (int64_t j = 0; j < width; ++j) {
        const double z =
            std::log(mean_r[b]) * static_cast<double>(kernel[j]) + static_cast<double>(bias[j]);
        const double s = logistic(5 * z);
        slope[b * width + j] = w * 5 * s * (1 - s);
        f[b * n + j] = static_cast<T>((1 - w) + w * s);
      }
      for (int64_t j = width; j < n; ++j) f[b * n + j] = f[b * n];
    }
  }
};

template <class T>
void adaptive_forward(const OpCall& c) {
  const Rows<2> rows({c.in(kX), c.in(kX)}, axes(c));
  if (rows.length() == 0 || rows.count() == 0) return;
  const AdaptiveBand<T> all(c, rows);
  forward_rows<T>(c, row_norm<T>(c, all.n), true, [&](kernels::RowNorm<T>& k, int64_t row) {
    k.gamma = all.f + row / all.per_batch * all.n;
  });
}

template <class T>
void adaptive_vjp(const OpCall& c) {
  const Rows<2> plain({c.in(kX), c.in(kX)}, axes(c));
  const Rows<3> rows({c.in(kX), c.dout(0), c.din(kX)}, axes(c));
  const int64_t n = rows.length();
  if (n == 0 || rows.count() == 0) return;
  Parallel& p = parallel(c);
  const AdaptiveBand<T> all(c, plain);
  const Buffers<T> buffers(p, n, 5);
  double* dkernel = p.scratch_array<double>(static_cast<size_t>(2 * all.width));
  double* dbias = dkernel + all.width;
  std::fill_n(dkernel, 2 * all.width, 0.0);
  double* dr = p.scratch_array<double>(static_cast<size_t>(all.batch));
  for (int64_t b = 0; b < all.batch; ++b) {
    kernels::RowNorm<T> k = row_norm<T>(c, n);
    k.gamma = all.f + b * n;
    // With f held; dgamma is the gradient of f.
    const double* df = chunked_sums(
        p, all.per_batch, n, 2 * n + 1, [&](int64_t begin, int64_t end, double* mine, int worker) {
          const int64_t first = b * all.per_batch;
          backward_rows<T>(
              c, k, first + begin, first + end, rows, buffers, worker, mine,
              [](kernels::RowNorm<T>&, int64_t) {}, [](int64_t, const T*, double, T*) {});
        });
    double dl = 0;
    const double l = std::log(all.mean_r[b]);
    for (int64_t j = 0; j < all.width; ++j) {
      double total = df[j];
      if (all.width < n)
        for (int64_t i = 1; i < n; ++i) total += df[i];
      const double dz = total * all.slope[b * all.width + j];
      dkernel[j] += l * dz;
      dbias[j] += dz;
      dl += dz * static_cast<double>(all.kernel[j]);
    }
    dr[b] = dl / all.mean_r[b] / static_cast<double>(all.per_batch);
  }
  if (c.din(kW0)) add_to<T>(*c.din(kW0), dkernel);
  if (c.din(kW1)) add_to<T>(*c.din(kW1), dbias);
  if (!c.din(kX)) return;
  // Through l to every r of the batch element: dr / dx = (x - mean) / (n r).
  const Rows<2> to({c.din(kX), c.in(kX)}, axes(c));
  const kernels::RowNorm<T> k = row_norm<T>(c, n);
  to.each(p, [&](auto o, int64_t row, int worker) {
    const T* x = to.inner(1).read(data<T>(*c.in(kX)) + o[1], buffers.get(worker));
    const auto s = kernels::reference::row_statistics(k, x);
    if (!s.moves) return;
    const T factor = static_cast<T>(dr[row / all.per_batch] /
                                    (static_cast<double>(n) * static_cast<double>(s.r)));
    T* dx = buffers.get(worker, 2);
    for (int64_t i = 0; i < n; ++i) dx[i] = factor * (x[i] - s.mean);
    to.inner(0).add(data<T>(*c.din(kX)) + o[0], dx);
  });
}

}  // namespace attn::ops::norms
