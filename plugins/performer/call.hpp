// SPDX-License-Identifier: Apache-2.0
//
// What the passes of the operator share: its tensors by name, memory for the
// workers, the padded projections, and the steps that every tile of queries
// goes through.
#pragma once

#include "head.hpp"

namespace attn::performer {

enum Port { kQuery, kKey, kValue, kProjection, kState };
enum Attribute { kCausal, kTrig, kFeatures };

inline Sizes sizes_of(const sdk::OpCall& c) {
  const attn_view &q = *c.in(kQuery), &w = *c.in(kProjection);
  Sizes s{};
  s.batch = q.shape[0], s.heads = q.shape[1], s.tokens = q.shape[2], s.width = q.shape[3];
  s.rows = w.shape[1];
  s.trig = c.flag(kTrig);
  s.features = s.trig ? 2 * s.rows : s.rows;
  s.wide = (s.width + 1 + kLanes - 1) / kLanes * kLanes;
  s.trig_scale = std::sqrt(2 / static_cast<double>(c.integer(kFeatures)));
  return s;
}

// One run of the operator in T.
template <class T>
struct Run {
  const sdk::OpCall& c;
  Sizes s;
  const Functions<T>& f;
  T* projections;  // (H, rows, wide)

  explicit Run(const sdk::OpCall& call)
      : c(call),
        s(sizes_of(call)),
        f(kernels(call.raw().engine->cpu_level())),
        projections(call.scratch_array<T>(static_cast<size_t>(s.heads * s.rows * s.wide))) {
    c.loop(s.heads, 1, [&](int64_t begin, int64_t end, int32_t) {
      for (int64_t h = begin; h < end; ++h)
        padded_projection(s, *c.in(kProjection), h, projections + h * s.rows * s.wide);
    });
  }
  [[nodiscard]] const T* projection(int64_t h) const { return projections + h * s.rows * s.wide; }

  // A block for each worker, of what `Pass` takes from its workspace.
  template <class Pass, class... More>
  [[nodiscard]] std::pair<T*, int64_t> memory(const More&... more) const {
    Workspace<T> measure(nullptr);
    const Pass pass(*this, 0, measure, more...);
    (void)pass;
    const int64_t n = measure.used() + 16;
    return {c.scratch_array<T>(static_cast<size_t>(n * c.concurrency())), n};
  }
};

// What a tile of queries needs, and its results: rows [numerator, denominator]
// and their share of the gradient.
template <class T>
struct QueryTile {
  const Run<T>& run;
  T *t, *peak, *sums, *inverse;

  QueryTile(const Run<T>& r, Workspace<T>& w)
      : run(r),
        t(w.take(r.s.features * kTile)),
        peak(w.take(kTile)),
        sums(w.take(kTile * r.s.wide)),
        inverse(w.take(kTile)) {}

  // Features of the tile beside keys of exponents g, and the sums over the
  // state.
  void read(Features<T>& features, const Head<const T>& q, int64_t begin, int64_t n, const T* g,
            const T* u) const {
    features.queries(q, begin, n, t);
    features.raise_queries(n, g, t, peak);
    run.f.product(n, run.s.wide, run.s.features, t, 1, kTile, u, run.s.wide, sums, run.s.wide,
                  false);
  }
  void invert(int64_t n) const {
    const T floor = static_cast<T>(run.s.floor());
    for (int64_t j = 0; j < n; ++j) inverse[j] = 1 / (sums[j * run.s.wide + run.s.width] + floor);
    std::fill(inverse + n, inverse + Features<T>::columns(n), T(0));
  }
  void write(const Head<T>& out, int64_t begin, int64_t n) const {
    for (int64_t j = 0; j < n; ++j)
      for (int64_t i = 0; i < run.s.width; ++i)
        out.at(begin + j, i) = sums[j * run.s.wide + i] * inverse[j];
  }
};

// [dout_n, -dout_n . out_n] of a tile as rows (n, wide) and as columns (d + 1,
// kTile).
template <class T>
struct GradientTile {
  const Sizes& s;
  T *rows, *across;

  GradientTile(const Sizes& sizes, Workspace<T>& w)
      : s(sizes), rows(w.take(kTile * sizes.wide)), across(w.take(sizes.wide * kTile)) {}

  void load(const Head<const T>& dout, int64_t begin, int64_t n, const QueryTile<T>& tile) const {
    const int64_t all = Features<T>::columns(n);
    for (int64_t j = 0; j < all; ++j) {
      T* to = rows + j * s.wide;
      std::fill_n(to, s.wide, T(0));
      if (j >= n) continue;
      T own = 0;
      for (int64_t i = 0; i < s.width; ++i) {
        to[i] = dout.at(begin + j, i);
        own += to[i] * tile.sums[j * s.wide + i] * tile.inverse[j];
      }
      to[s.width] = -own;
    }
    for (int64_t i = 0; i <= s.width; ++i)
      for (int64_t j = 0; j < all; ++j) across[i * kTile + j] = rows[j * s.wide + i];
  }
};

template <class T>
void negate(int64_t n, const T* x, T* y) {
  for (int64_t i = 0; i < n; ++i) y[i] = -x[i];
}

// dx += rows (n, wide)
template <class T>
void add_rows(const Sizes& s, const T* rows, const Head<T>& dx, int64_t begin, int64_t n) {
  for (int64_t j = 0; j < n; ++j)
    for (int64_t i = 0; i < s.width; ++i) dx.at(begin + j, i) += rows[j * s.wide + i];
}

}  // namespace attn::performer
