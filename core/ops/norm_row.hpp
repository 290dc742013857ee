// SPDX-License-Identifier: Apache-2.0
//
// Norms that look at one row at a time (a row: the elements along the axes; m, v its mean and variance):
//   layer         (x - m) / sqrt(v + eps) gamma + beta
//   energy_layer  the same over the last axis, gamma a scalar
//   rms           x / sqrt(mean x^2 + eps) scale;  zero_centered: of x - m
//   band_rms      x / max(sqrt(mean x^2 + eps), eps) ((1 - w) + w s(5 p)), p a scalar;  zero_centered: of x - m
//   logit         x / (T sqrt(max(sum x^2, eps)))
//   max_logit     x / sqrt(sum x^2 + eps)
#pragma once

#include "core/ops/norm_args.hpp"

namespace attn::ops::norms {

inline bool is_band(NormKind k) {
  return k == NormKind::band_rms || k == NormKind::zero_centered_band_rms;
}

template <class T>
kernels::RowNorm<T> row_of(const OpCall& c, int64_t n) {
  kernels::RowNorm<T> k = row_norm<T>(c, n);
  if (is_band(kind(c))) {
    const double w = constant(c);
    k.gain = static_cast<T>((1 - w) + w * logistic(5 * scalar<T>(*c.in(kW0))));
  } else if (kind(c) == NormKind::energy_layer) {
    k.gain = static_cast<T>(scalar<T>(*c.in(kW0)));
    k.beta = weights<T>(c, kW1);
  } else if (kind(c) == NormKind::logit) {
    k.gain = static_cast<T>(1 / constant(c));
  } else {
    k.gamma = weights<T>(c, kW0);
    k.beta = weights<T>(c, kW1);
  }
  return k;
}

template <class T>
void row_forward(const OpCall& c) {
  const Rows<2> rows({c.in(kX), c.in(kX)}, axes(c));
  forward_rows<T>(c, row_of<T>(c, rows.length()), false, [](kernels::RowNorm<T>&, int64_t) {});
}

template <class T>
void row_vjp(const OpCall& c) {
  const Rows<3> rows({c.in(kX), c.dout(0), c.din(kX)}, axes(c));
  const int64_t n = rows.length();
  if (n == 0 || rows.count() == 0) return;
  const kernels::RowNorm<T> k = row_of<T>(c, n);
  const Buffers<T> buffers(parallel(c), n, 5);
  const double* sums = chunked_sums(parallel(c), rows.count(), n, 2 * n + 1,
                                    [&](int64_t begin, int64_t end, double* mine, int worker) {
                                      backward_rows<T>(
                                          c, k, begin, end, rows, buffers, worker, mine,
                                          [](kernels::RowNorm<T>&, int64_t) {},
                                          [](int64_t, const T*, double, T*) {});
                                    });
  if (c.din(kW0)) {
    if (is_band(kind(c))) {
      const double w = constant(c), s = logistic(5 * scalar<T>(*c.in(kW0)));
      add_to<T>(*c.din(kW0), &sums[2 * n], w * 5 * s * (1 - s));
    } else if (kind(c) == NormKind::energy_layer) {
      add_to<T>(*c.din(kW0), &sums[2 * n]);
    } else {
      add_to<T>(*c.din(kW0), sums);
    }
  }
  if (c.din(kW1)) add_to<T>(*c.din(kW1), sums + n);
}

}  // namespace attn::ops::norms
