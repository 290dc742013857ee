// SPDX-License-Identifier: Apache-2.0
//
// batch (Ioffe, Szegedy 2015, arXiv 1502.03167): (x - mean) / sqrt(variance + eps) gamma + beta, mean and
// variance of each element of one axis over all others. bias_free_batch: x / sqrt(variance + eps)
// gamma. Training takes the batch's mean and population variance, the gradient flows through them,
// and the new moving values are momentum * old + (1 - momentum) * the batch's. Otherwise the moving
// values are used and are constants.
#pragma once

#include "core/ops/norm_args.hpp"

namespace attn::ops::norms {

template <class T>
struct BatchStatistics {
  int64_t channels, rows;
  double *mean, *inverse;  // 1 / sqrt(variance + eps)
  double* variance;
  bool centred;  // subtracts the mean

  BatchStatistics(const OpCall& c, const Rows<2>& all) {
    Parallel& p = parallel(c);
    const attn_view& x = *c.in(kX);
    channels = all.length(), rows = all.count();
    centred = kind(c) == NormKind::batch;
    mean = p.scratch_array<double>(static_cast<size_t>(3 * channels) + 1);
    inverse = mean + channels, variance = mean + 2 * channels;
    if (c.training()) {
      const Buffers<T> buffers(p, channels);
      const double* sums = chunked_sums(
          p, rows, channels, channels, [&](int64_t begin, int64_t end, double* mine, int worker) {
            all.each_of(begin, end, [&](auto o, int64_t) {
              const T* row = all.inner(0).read(data<T>(x) + o[0], buffers.get(worker));
              for (int64_t i = 0; i < channels; ++i) mine[i] += static_cast<double>(row[i]);
            });
          });
      for (int64_t i = 0; i < channels; ++i) mean[i] = sums[i] / static_cast<double>(rows);
      const double* squares = chunked_sums(
          p, rows, channels, channels, [&](int64_t begin, int64_t end, double* mine, int worker) {
            all.each_of(begin, end, [&](auto o, int64_t) {
              const T* row = all.inner(0).read(data<T>(x) + o[0], buffers.get(worker));
              for (int64_t i = 0; i < channels; ++i) {
                const double d = static_cast<double>(row[i]) - mean[i];
                mine[i] += d * d;
              }
            });
          });
      for (int64_t i = 0; i < channels; ++i) variance[i] = squares[i] / static_cast<double>(rows);
    } else {
      const T* m = centred ? weights<T>(c, kStat0) : nullptr;
      const T* v = weights<T>(c, kStat1);
      for (int64_t i = 0; i < channels; ++i) {
        mean[i] = m ? static_cast<double>(m[i]) : 0;
        variance[i] = static_cast<double>(v[i]);
      }
    }
    for (int64_t i = 0; i < channels; ++i) inverse[i] = 1 / std::sqrt(variance[i] + epsilon(c));
  }
  // What is subtracted from channel i.
  [[nodiscard]] double shift(int64_t i) const { return centred ? mean[i] : 0; }
};

// The new moving value in out(n), of which c.in(input) is the old one.
template <class T>
void move(const OpCall& c, int n, int input, const double* batch, int64_t channels, bool update) {
  if (!c.out(n) || !c.in(input)) return;
  const double momentum = constant(c);
  const attn_view &from = *c.in(input), &to = *c.out(n);
  const Grid<2> g = Grid<2>::of({&to, &from});
  for (int64_t i = 0; i < channels; ++i) {
    const auto o = g.offsets(i);
    const auto old = static_cast<double>(data<T>(from)[o[1]]);
    data<T>(to)[o[0]] = static_cast<T>(update ? momentum * old + (1 - momentum) * batch[i] : old);
  }
}

template <class T>
void batch_forward(const OpCall& c) {
  const attn_view &x = *c.in(kX), &y = *c.out(0);
  const Rows<2> rows({&x, &y}, axes(c));
  const BatchStatistics<T> s(c, rows);
  const bool update = c.training() && s.rows > 0;
  move<T>(c, 1, kStat0, s.mean, s.channels, update);
  move<T>(c, 2, kStat1, s.variance, s.channels, update);
  const int64_t n = s.channels;
  if (n == 0) return;
  const T* gamma = weights<T>(c, kW0);
  const T* beta = weights<T>(c, kW1);
  T* shift = parallel(c).scratch_array<T>(static_cast<size_t>(3 * n));
  T *slope = shift + n, *base = shift + 2 * n;
  for (int64_t i = 0; i < n; ++i) {
    shift[i] = static_cast<T>(s.shift(i));
    slope[i] = static_cast<T>(s.inverse[i] * (gamma ? static_cast<double>(gamma[i]) : 1));
    base[i] = beta ? beta[i] : T(0);
  }
  const Buffers<T> buffers(parallel(c), n, 2);
  rows.each(parallel(c), [&](auto o, int64_t, int worker) {
    const T* in = rows.inner(0).read(data<T>(x) + o[0], buffers.get(worker));
    T* out = rows.inner(1).target(data<T>(y) + o[1], buffers.get(worker, 1));
    for (int64_t i = 0; i < n; ++i) out[i] = (in[i] - shift[i]) * slope[i] + base[i];
    rows.inner(1).write(data<T>(y) + o[1], out);
  });
}

template <class T>
void batch_vjp(const OpCall& c) {
  const attn_view &x = *c.in(kX), &dy = *c.dout(0);
  const Rows<2> plain({&x, &x}, axes(c));
  const Rows<3> rows({&x, &dy, c.din(kX)}, axes(c));
  const int64_t n = rows.length();
  if (n == 0 || rows.count() == 0) return;
  Parallel& p = parallel(c);
  const BatchStatistics<T> s(c, plain);
  const Buffers<T> buffers(p, n, 3);
  const T* gamma = weights<T>(c, kW0);
  // sums of dy h (h: x without or with its mean taken off, over sd) and of dy
  const double* sums = chunked_sums(
      p, rows.count(), n, 2 * n, [&](int64_t begin, int64_t end, double* mine, int worker) {
        rows.each_of(begin, end, [&](auto o, int64_t) {
          const T* in = rows.inner(0).read(data<T>(x) + o[0], buffers.get(worker));
          const T* g = rows.inner(1).read(data<T>(dy) + o[1], buffers.get(worker, 1));
          for (int64_t i = 0; i < n; ++i) {
            const double h = (static_cast<double>(in[i]) - s.shift(i)) * s.inverse[i];
            mine[i] += static_cast<double>(g[i]) * h;
            mine[n + i] += static_cast<double>(g[i]);
          }
        });
      });
  if (c.din(kW0)) add_to<T>(*c.din(kW0), sums);
  if (c.din(kW1)) add_to<T>(*c.din(kW1), sums + n);
  if (!c.din(kX)) return;
  // dx = dy slope - constant - (x - mean) pull; the last two only through the batch's statistics
  T* slope = p.scratch_array<T>(static_cast<size_t>(4 * n));
  T *level = slope + n, *pull = slope + 2 * n, *mean = slope + 3 * n;
  const auto count = static_cast<double>(rows.count());
  for (int64_t i = 0; i < n; ++i) {
    const double a = s.inverse[i] * (gamma ? static_cast<double>(gamma[i]) : 1);
    slope[i] = static_cast<T>(a);
    mean[i] = static_cast<T>(s.mean[i]);
    level[i] = c.training() && s.centred ? static_cast<T>(a * sums[n + i] / count) : T(0);
    pull[i] = c.training() ? static_cast<T>(a * s.inverse[i] * sums[i] / count) : T(0);
  }
  rows.each(p, [&](auto o, int64_t, int worker) {
    const T* in = rows.inner(0).read(data<T>(x) + o[0], buffers.get(worker));
    const T* g = rows.inner(1).read(data<T>(dy) + o[1], buffers.get(worker, 1));
    T* dx = buffers.get(worker, 2);
    for (int64_t i = 0; i < n; ++i)
      dx[i] = g[i] * slope[i] - level[i] - (in[i] - mean[i]) * pull[i];
    rows.inner(2).add(data<T>(*c.din(kX)) + o[2], dx);
  });
}

}  // namespace attn::ops::norms
