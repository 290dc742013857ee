// SPDX-License-Identifier: Apache-2.0
//
// One run of the operator: its sizes, its kernels and padded projections, and the tokens of one head.
// Tiles of features are (m, kTile), feature by feature; rows of values, gradients and sums are `wide`
// numbers apart: d + 1 rounded up to kLanes.
#pragma once

#include <attn/sdk/matmul.hpp>
#include <attn/sdk/plugin.hpp>
#include <attn/sdk/strided.hpp>
#include <attn/sdk/worker_memory.hpp>

#include <algorithm>
#include <cmath>

#include "kernels/kernels.hpp"

namespace attn::performer {

inline constexpr int64_t kTile = 64;  // tokens

enum Port { kQuery, kKey, kValue, kProjection, kState };
enum Attribute { kCausal, kTrig, kFeatures };

inline int64_t round_up(int64_t n) { return (n + kLanes - 1) / kLanes * kLanes; }

// 2^e for a whole e; 0 where T has no such number.
template <class T>
T power_of_two(T e) {
  return e > T(-5000) ? std::ldexp(T(1), static_cast<int>(std::min(e, T(1023)))) : T(0);
}

struct Sizes {
  int64_t batch, heads, tokens, width;  // B, H, S, d
  int64_t rows, features, wide;         // of the projection; m; length of a row of values
  bool causal, trig;
  double trig_scale;  // sqrt(2 / nb_features)

  explicit Sizes(const sdk::OpCall& c) {
    const attn_view &q = *c.in(kQuery), &w = *c.in(kProjection);
    batch = q.shape[0], heads = q.shape[1], tokens = q.shape[2], width = q.shape[3];
    causal = c.flag(kCausal), trig = c.flag(kTrig);
    rows = w.shape[1], features = trig ? 2 * rows : rows, wide = round_up(width + 1);
    trig_scale = std::sqrt(2 / static_cast<double>(c.integer(kFeatures)));
  }
  // q' = query_factor q, k' = key_factor k
  [[nodiscard]] double query_factor() const {
    const auto d = static_cast<double>(width);
    return trig ? 1 / std::sqrt(d) : 1 / std::sqrt(std::sqrt(d));
  }
  [[nodiscard]] double key_factor() const { return trig ? 1 : query_factor(); }
};

template <class T>
struct Run {
  const sdk::OpCall& c;
  const Sizes s;
  const Functions<T>& f;
  const bool backward;
  // (H, rows, wide): w_f, then -1, so that a product with [x', square] subtracts the square. In the
  // product that gives gradients of keys the same column counts how often k' is subtracted.
  T* const projections;

  Run(const sdk::OpCall& call, bool is_backward)
      : c(call),
        s(call),
        f(kernels(call.raw().engine->cpu_level())),
        backward(is_backward),
        projections(call.scratch_array<T>(static_cast<size_t>(s.heads * s.rows * s.wide))) {
    c.loop(s.heads * s.rows, 64, [&](int64_t begin, int64_t end, int32_t) {
      for (int64_t i = begin; i < end; ++i) {
        T* row = projections + i * s.wide;
        std::fill_n(row, s.wide, T(0));
        const auto from = sdk::line<const T>(*c.in(kProjection), i / s.rows, i % s.rows);
        for (int64_t x = 0; x < s.width; ++x) row[x] = from[x];
        row[s.width] = T(-1);
      }
    });
  }
  [[nodiscard]] const T* projection(int64_t h) const { return projections + h * s.rows * s.wide; }

  // y (m, n) = a (m, k) b (k, n), added to y when `add`.
  void product(int64_t m, int64_t n, int64_t k, sdk::Matrix<const T> a, sdk::Matrix<const T> b,
               sdk::Matrix<T> y, bool add = false) const {
    sdk::matmul_serial<T>(c.kernels(), m, n, k, a, b, y, add);
  }
};

// The tokens of head i = b H + h of a (batch, head, token, element) tensor; without a tensor: false.
template <class T>
struct Head {
  const attn_view* tensor = nullptr;
  int64_t i = 0;
  explicit operator bool() const { return tensor != nullptr; }
  sdk::Line<T> operator[](int64_t token) const {
    return sdk::line<T>(*tensor, i / tensor->shape[1], i % tensor->shape[1], token);
  }
  // Element x of the tokens from `token` on.
  [[nodiscard]] sdk::Line<T> column(int64_t token, int64_t x) const {
    return {&(*this)[token][x], tensor->stride[2]};
  }
};

}  // namespace attn::performer
