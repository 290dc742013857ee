// SPDX-License-Identifier: Apache-2.0
//
// dynamic_tanh (Zhu et al. 2025, arXiv 2503.10622): y = tanh(alpha x) weight + bias, alpha a scalar.
#pragma once

#include "core/ops/norm_args.hpp"

namespace attn::ops::norms {

template <class T>
void tanh_forward(const OpCall& c) {
  const attn_view &x = *c.in(kX), &y = *c.out(0);
  const Rows<2> rows({&x, &y}, axes(c));
  const int64_t n = rows.length();
  if (n == 0) return;
  const T alpha = *data<T>(*c.in(kStat0));
  const T* weight = weights<T>(c, kW0);
  const T* bias = weights<T>(c, kW1);
  const Buffers<T> buffers(parallel(c), n, 2);
  rows.each(parallel(c), [&](auto o, int64_t, int worker) {
    const T* in = rows.inner(0).read(data<T>(x) + o[0], buffers.get(worker));
    T* out = rows.inner(1).target(data<T>(y) + o[1], buffers.get(worker, 1));
    for (int64_t i = 0; i < n; ++i) out[i] = std::tanh(alpha * in[i]) * weight[i] + bias[i];
    rows.inner(1).write(data<T>(y) + o[1], out);
  });
}

template <class T>
void tanh_vjp(const OpCall& c) {
  const attn_view &x = *c.in(kX), &dy = *c.dout(0);
  const Rows<3> rows({&x, &dy, c.din(kX)}, axes(c));
  const int64_t n = rows.length();
  if (n == 0) return;
  const T alpha = *data<T>(*c.in(kStat0));
  const T* weight = weights<T>(c, kW0);
  const Buffers<T> buffers(parallel(c), n, 3);
  const double* sums = chunked_sums(
      parallel(c), rows.count(), n, 2 * n + 1,
      [&](int64_t begin, int64_t end, double* mine, int worker) {
        rows.each_of(begin, end, [&](auto o, int64_t) {
          const T* in = rows.inner(0).read(data<T>(x) + o[0], buffers.get(worker));
          const T* g = rows.inner(1).read(data<T>(dy) + o[1], buffers.get(worker, 1));
          T* dx = buffers.get(worker, 2);
          for (int64_t i = 0; i < n; ++i) {
            const T t = std::tanh(alpha * in[i]), inside = g[i] * weight[i] * (1 - t * t);
            mine[i] += static_cast<double>(g[i] * t);
            mine[n + i] += static_cast<double>(g[i]);
            mine[2 * n] += static_cast<double>(inside * in[i]);
            dx[i] = inside * alpha;
          }
          if (c.din(kX)) rows.inner(2).add(data<T>(*c.din(kX)) + o[2], dx);
        });
      });
  if (c.din(kW0)) add_to<T>(*c.din(kW0), sums);
  if (c.din(kW1)) add_to<T>(*c.din(kW1), sums + n);
  if (c.din(kStat0)) add_to<T>(*c.din(kStat0), sums + 2 * n);
}

}  // namespace attn::ops::norms
