// SPDX-License-Identifier: Apache-2.0
//
// What the parts of the norm operator share: its inputs by name, and how kinds map to rows. x, y, dy
// and dx have one shape; absent tensors are nullptr. Formulas: the file of each group of kinds,
//   norm_row.hpp        layer, rms, band_rms, logit, max_logit, energy_layer: row by row
//   norm_band_logit.hpp band_logit
//   norm_adaptive.hpp   adaptive_band_rms: one factor a batch element
//   norm_global.hpp     global_response
//   norm_tanh.hpp       dynamic_tanh
//   norm_batch.hpp      batch, bias_free_batch: statistics over everything but one axis
#pragma once

#include <cmath>

#include "core/kernels/reference/norm.hpp"
#include "core/kernels/table.hpp"
#include "core/kinds/kinds.hpp"
#include "core/ops/check.hpp"
#include "core/ops/rows.hpp"

namespace attn::ops::norms {

inline constexpr int kX = 0, kW0 = 1, kW1 = 2, kStat0 = 3, kStat1 = 4;  // inputs

inline NormKind kind(const OpCall& c) { return static_cast<NormKind>(c.integer(0)); }
inline uint32_t axes(const OpCall& c) { return check_axes(c.integers(1), c.in(kX)->rank, false); }
inline double epsilon(const OpCall& c) { return c.real(2); }
inline double constant(const OpCall& c) { return c.real(3); }

inline double logistic(double x) { return 1 / (1 + std::exp(-x)); }

// The first element of a weight, as a number.
template <class T>
double scalar(const attn_view& v) {
  return static_cast<double>(*data<T>(v));
}

// Places of a small tensor along the listed axes, for weights that have one element each.
template <class T>
const T* weights(const OpCall& c, int n) {
  return c.in(n) ? dense<T>(parallel(c), *c.in(n)) : nullptr;
}

// r as the row kinds have it; gain and weights not yet filled in.
template <class T>
kernels::RowNorm<T> row_norm(const OpCall& c, int64_t n) {
  kernels::RowNorm<T> k;
  k.n = n;
  k.eps = static_cast<T>(epsilon(c));
  switch (kind(c)) {
    case NormKind::layer:
    case NormKind::energy_layer:
    case NormKind::zero_centered_rms:
      k.centred = true;
      break;
    case NormKind::zero_centered_band_rms:
    case NormKind::zero_centered_adaptive_band_rms:
      k.centred = true;
      k.floor = k.eps;
      break;
    case NormKind::band_rms:
    case NormKind::adaptive_band_rms:
      k.floor = k.eps;
      break;
    case NormKind::logit:
    case NormKind::band_logit:
      k.clamp = true;
      k.mean = false;
      break;
    case NormKind::max_logit:
      k.mean = false;
      break;
    default:
      break;
  }
  return k;
}

// Rows that one call of the float kernel adds up in float before the sums go to double.
inline constexpr int64_t kRowsInFloat = 64;

// Runs rows [0, count) of (y, x) through k, which may differ from row to row: adjust(k, row).
template <class T, class F>
void forward_rows(const OpCall& c, const kernels::RowNorm<T>& common, bool differ, F&& adjust) {
  const attn_view &x = *c.in(kX), &y = *c.out(0);
  const Rows<2> rows({&y, &x}, axes(c));
  if (rows.length() == 0) return;
  const Buffers<T> buffers(parallel(c), rows.length(), 2);
  const RowAxes &to = rows.inner(0), &from = rows.inner(1);
  const bool direct = to.side_by_side() && from.side_by_side();
  const bool fast = use_kernels<T>();
  rows.run(parallel(c), [&](auto o, int64_t count, auto s, int64_t first, int worker) {
    if constexpr (sizeof(T) == sizeof(float)) {
      if (fast && direct && !differ) {
        kernels::table().norm_rows(common, count, data<T>(x) + o[1], s[1], data<T>(y) + o[0], s[0]);
        return;
      }
    }
    for (int64_t i = 0; i < count; ++i) {
      const T* in = from.read(data<T>(x) + o[1] + i * s[1], buffers.get(worker));
      T* row = data<T>(y) + o[0] + i * s[0];
      T* out = to.target(row, buffers.get(worker, 1));
      kernels::RowNorm<T> k = common;
      if (differ) adjust(k, first + i);
      if constexpr (sizeof(T) == sizeof(float)) {
        if (fast) {
          kernels::table().norm_rows(k, 1, in, 0, out, 0);
          to.write(row, out);
          continue;
        }
      }
      kernels::reference::norm_row(k, in, out);
      to.write(row, out);
    }
  });
}

// The same backwards. sums: 2 n + 1 doubles of a chunk that dgamma, dbeta and the gradient of gain are
// added to. after(row, c, dgain, dx): what else a row adds to dx (n elements, not yet added).
template <class T, class Adjust, class After>
void backward_rows(const OpCall& c, const kernels::RowNorm<T>& common, int64_t begin, int64_t end,
                   const Rows<3>& rows, const Buffers<T>& buffers, int worker, double* sums,
                   Adjust&& adjust, After&& after) {
  const attn_view &x = *c.in(kX), &dy = *c.dout(0);
  const attn_view* dx = c.din(kX);
  const int64_t n = rows.length();
  const bool fast = use_kernels<T>();
  T* gamma_sums = buffers.get(worker, 3);
  T* beta_sums = buffers.get(worker, 4);
  int64_t in_float = 0;
  const auto flush = [&] {
    for (int64_t i = 0; i < n && in_float > 0; ++i) {
      sums[i] += static_cast<double>(gamma_sums[i]);
      sums[n + i] += static_cast<double>(beta_sums[i]);
    }
    std::fill_n(gamma_sums, n, T(0));
    std::fill_n(beta_sums, n, T(0));
    in_float = 0;
  };
  if (fast) flush();
  rows.each_of(begin, end, [&](auto o, int64_t row) {
    const T* in = rows.inner(0).read(data<T>(x) + o[0], buffers.get(worker));
    const T* g = rows.inner(1).read(data<T>(dy) + o[1], buffers.get(worker, 1));
    T* out = buffers.get(worker, 2);
    kernels::RowNorm<T> k = common;
    adjust(k, row);
    double dgain = 0;
    bool done = false;
    if constexpr (sizeof(T) == sizeof(float)) {
      if (fast) {
        dgain = static_cast<double>(
            kernels::table().norm_row_vjp(k, in, g, out, gamma_sums, beta_sums));
        done = true;
        if (++in_float == kRowsInFloat) flush();
      }
    }
    if (!done) dgain = kernels::reference::norm_row_vjp(k, in, g, out, sums, sums + n);
    sums[2 * n] += dgain;
    after(row, in, dgain, out);
    if (dx) rows.inner(2).add(data<T>(*dx) + o[2], out);
  });
  if (fast) flush();
}

}  // namespace attn::ops::norms
