// SPDX-License-Identifier: Apache-2.0
//
// A call of the oracle as the arrays and options of the library, in any kind and layout, and results back.
#pragma once

#include "tests/functional/naive.hpp"

namespace attn::naive {

// Memory of a kind, and the view that a caller would give: as it is, or with strides.
struct Held {
  Array memory{};
  ConstView view{};
};

// heads: (B, H, L, D) seen in memory (B, L, H, D); three: as the tensor (B, L, H * D).
inline Held hold(const Tensor& t, attn_dtype dtype, bool strided, bool three = false) {
  const int64_t *n = t.n, size = n[0] * n[1] * n[2] * n[3];
  const bool turned = strided || three;
  std::vector<double> x(static_cast<size_t>(size));
  for (int64_t a = 0; a < n[0]; ++a)
    for (int64_t b = 0; b < n[1]; ++b)
      for (int64_t c = 0; c < n[2]; ++c)
        for (int64_t d = 0; d < n[3]; ++d)
          x[static_cast<size_t>(turned ? ((a * n[2] + c) * n[1] + b) * n[3] + d
                                       : ((a * n[1] + b) * n[2] + c) * n[3] + d)] = t(a, b, c, d);
  Held h{Array::from(x, {size}).astype(dtype)};
  const Shape shape{n[0], n[1], n[2], n[3]};
  if (three)
    h.view = ConstView(h.memory.raw(), dtype, {n[0], n[2], n[1] * n[3]});
  else if (strided)
    h.view = ConstView(h.memory.raw(), dtype, shape, {n[2] * n[1] * n[3], n[3], n[1] * n[3], 1});
  else
    h.view = ConstView(h.memory.raw(), dtype, shape);
  return h;
}

// The last `rank` axes alone.
inline Held hold_mask(const Call& c) {
  Held h = hold(c.mask, c.mask_kind == Mask::boolean ? ATTN_BOOL : c.dtype, false);
  const int64_t* n = c.mask.n;
  h.view = ConstView(h.memory.raw(), h.memory.dtype(),
                     Shape(n + 4 - c.mask_rank, static_cast<size_t>(c.mask_rank)));
  return h;
}

// A result as (B, H, L, E), whatever its form.
inline Tensor read(const Array& a, int64_t heads, bool three) {
  const Array x = a.astype(ATTN_F64);
  const Shape& s = a.shape();
  const int64_t width = s.rank() == 4 ? s[3] : s.rank() == 3 && !three ? 1 : s[2] / heads;
  Tensor t(s[0], three ? heads : s[1], three ? s[1] : s[2], width);
  for (int64_t b = 0; b < t.n[0]; ++b)
    for (int64_t h = 0; h < t.n[1]; ++h)
      for (int64_t i = 0; i < t.n[2]; ++i)
        for (int64_t d = 0; d < width; ++d)
          t.x[t.at(b, h, i, d)] =
              x.data<double>()[three ? ((b * t.n[2] + i) * heads + h) * width + d
                                     : static_cast<int64_t>(t.at(b, h, i, d))];
  return t;
}

// Everything that a call hands over. strided: query, key and value lie as projections leave them.
struct Arguments {
  Held q, k, v, past_k, past_v, mask, sinks;
  ScaledDotProductOptions options{};

  explicit Arguments(const Call& c, bool strided = false)
      : q(hold(c.q, c.dtype, strided, c.three)),
        k(hold(c.k, c.dtype, strided, c.three)),
        v(hold(c.v, c.dtype, strided, c.three)),
        past_k(hold(c.past_k, c.dtype, strided)),
        past_v(hold(c.past_v, c.dtype, false)),
        sinks(hold(c.sinks, c.dtype, false)) {
    options.is_causal = c.causal;
    options.scale = c.scale;
    options.enable_gqa = true;
    options.softcap = c.softcap;
    options.left_window_size = c.left, options.right_window_size = c.right;
    options.dropout_p = c.dropout, options.seed = c.seed;
    if (c.has_past) options.past_key = past_k.view, options.past_value = past_v.view;
    if (c.lengths) options.nonpad_kv_seqlen = ConstView(c.nonpad.data(), {c.b});
    if (c.three) options.q_num_heads = c.h, options.kv_num_heads = c.g;
    if (c.has_sinks) options.sinks = ConstView(sinks.memory.raw(), c.dtype, {c.h});
    if (c.mask_kind != Mask::none) {
      mask = hold_mask(c);
      options.attn_mask = mask.view;
    }
  }
};

// Largest difference, relative where numbers are above 1; infinity where one is no number and the other is.
inline double difference(const Tensor& x, const Tensor& y) {
  if (x.x.size() != y.x.size()) return INFINITY;
  double worst = 0;
  for (size_t i = 0; i < x.x.size(); ++i) {
    if (x.x[i] == y.x[i]) continue;
    const double error = std::abs(x.x[i] - y.x[i]) / std::max(1.0, std::abs(y.x[i]));
    if (!(error <= worst)) worst = std::isnan(error) ? INFINITY : error;
  }
  return worst;
}

// Of results: some roundings of the kind that is computed in, times the magnitude of scores, and one of the kind that
// results have. Values are at most 1, times 4/3 with dropout.
inline double tolerance(const Call& c) {
  const double sums = 16 * (4 + std::sqrt(static_cast<double>(c.d)));
  switch (c.dtype) {
    case ATTN_F64:
      return sums * 2.3e-16;
    case ATTN_F32:
      return sums * 1.2e-7;
    case ATTN_F16:
      return sums * 1.2e-7 + 0x1p-11;
    default:
      return sums * 1.2e-7 + 0x1p-8;
  }
}

}  // namespace attn::naive
