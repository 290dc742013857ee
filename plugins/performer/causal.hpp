// SPDX-License-Identifier: Apache-2.0
//
// Query n sees keys 0..n: one scan over the tokens in chunks. What lies before
// a chunk is in the running state; inside it the products of features are made
// and the later ones left out.
//
// All features of a chunk use the exponents g of its end. That a later key has
// a say in g changes no bit of an earlier row (head.hpp) as long as nothing
// leaves the range of float, and the chunk ends before a key whose exponent
// exceeds that of the chunk's first row by more than kReach. Where a chunk ends
// thus depends on earlier tokens and on the one behind it alone: causality
// holds to the last bit.
//
// Heads run side by side; the tokens of a head one after the other.
#pragma once

#include "call.hpp"
#include "whole.hpp"

namespace attn::performer {

// Of 126 binary orders below 1 that float has, this many are given away;
// denominators stay above 2^-(kReach + 1), and what is lost below them is
// smaller than their rounding by 2^-60.
inline constexpr int kReach = 40;

// Features of the keys of a chunk, and the state behind it.
template <class T>
struct Chunk {
  const Run<T>& run;
  T *e, *v, *across, *peak, *shift, *ratio;

  Chunk(const Run<T>& r, Workspace<T>& w, bool backward)
      : run(r),
        e(w.take(r.s.features * kTile)),
        v(w.take(kTile * r.s.wide)),
        across(backward ? w.take(r.s.wide * kTile) : nullptr),
        peak(w.take(r.s.features)),
        shift(w.take(r.s.features)),
        ratio(w.take(r.s.features)) {}

  // Loads the keys of the chunk at `begin`, of at most `most` tokens, and
  // raises the exponents of the state to those of its end (`next`; next.u: U'
  // before the chunk on that scale). ratio = 2^(old g - new g). Returns the
  // number of tokens.
  int64_t load(Features<T>& features, const Head<const T>& key, const Head<const T>& value,
               int64_t begin, int64_t most, const Sums<T>& state, const Sums<T>& next) const {
    const Sizes& s = run.s;
    int64_t n = std::min(most, kTile);
    features.keys(key, begin, n, e);
    next.copy(s, state);
    std::fill_n(ratio, s.features, T(1));
    if (!s.trig) {
      n = cut(n, state.g);
      for (int64_t f = 0; f < s.features; ++f)
        if (peak[f] > state.g[f]) ratio[f] = power_of_two(state.g[f] - peak[f]);
      next.raise(s, peak);
    }
    negate(s.features, next.g, shift);
    features.raise_keys(n, shift, e);
    load_values(s, value, begin, n, v, across);
    return n;
  }
  // The state behind the chunk, from what load() left in next.
  void finish(int64_t n, const Sums<T>& next) const {
    run.f.product(run.s.features, run.s.wide, n, e, kTile, 1, v, run.s.wide, next.u, run.s.wide,
                  true);
  }

 private:
  // How many of n tokens the chunk may have; the rest of e is blanked and peak
  // is that of the chunk.
  [[nodiscard]] int64_t cut(int64_t n, const T* g) const {
    const Sizes& s = run.s;
    run.f.row_peaks(s.features, Features<T>::columns(n), e, kTile, peak);
    const auto limit = [&](int64_t f) {
      return std::max(g[f], std::nearbyint(e[f * kTile])) + T(kReach);
    };
    int64_t end = n;
    for (int64_t f = 0; f < s.features; ++f) {
      const T most = limit(f);
      if (!(peak[f] > most)) continue;
      for (int64_t j = 1; j < end; ++j)
        if (std::nearbyint(e[f * kTile + j]) > most) end = j;
    }
    if (end == n) return n;
    for (int64_t f = 0; f < s.features; ++f)
      std::fill(e + f * kTile + end, e + f * kTile + Features<T>::columns(n), kNever<T>);
    run.f.row_peaks(s.features, Features<T>::columns(end), e, kTile, peak);
    return end;
  }
};

// Rows of a chunk: what the state gives and what its own keys give.
template <class T>
struct ChunkQueries {
  const Run<T>& run;
  QueryTile<T> tile;
  T* pairs;  // (kTile, kTile): sum_f t_nf e_fj

  ChunkQueries(const Run<T>& r, Workspace<T>& w)
      : run(r), tile(r, w), pairs(w.take(kTile * kTile)) {}

  void read(Features<T>& features, const Head<const T>& q, int64_t begin, int64_t n,
            const Chunk<T>& chunk, const Sums<T>& next) const {
    const Sizes& s = run.s;
    tile.read(features, q, begin, n, next.g, next.u);
    run.f.product(n, Features<T>::columns(n), s.features, tile.t, 1, kTile, chunk.e, kTile, pairs,
                  kTile, false);
    // Row n takes keys up to n; later ones are not even multiplied by 0, which
    // NaN would survive.
    constexpr int64_t kStep = 8;
    for (int64_t top = 0; top < n; top += kStep) {
      const int64_t rows = std::min(kStep, n - top);
      if (top > 0)
        run.f.product(rows, s.wide, top, pairs + top * kTile, kTile, 1, chunk.v, s.wide,
                      tile.sums + top * s.wide, s.wide, true);
      for (int64_t i = top; i < top + rows; ++i)
        for (int64_t j = top; j <= i; ++j) {
          const T weight = pairs[i * kTile + j];
          for (int64_t x = 0; x <= s.width; ++x)
            tile.sums[i * s.wide + x] += weight * chunk.v[j * s.wide + x];
        }
    }
  }
};

template <class T>
Sums<T> take_sums(const Sizes& s, Workspace<T>& w) {
  return {w.take(s.features), w.take(s.features * s.wide)};
}

template <class T>
struct Scan {
  Features<T> features;
  Chunk<T> chunk;
  ChunkQueries<T> queries;
  Sums<T> state, next;

  Scan(const Run<T>& r, int64_t h, Workspace<T>& w)
      : features(r.s, r.f, r.projection(h), w),
        chunk(r, w, false),
        queries(r, w),
        state(take_sums<T>(r.s, w)),
        next(take_sums<T>(r.s, w)) {}
};

// lengths: (B H, S), the length of the chunk that begins at a token; nullptr:
// not wanted.
template <class T>
void causal_forward(const Run<T>& run, int32_t* lengths) {
  const sdk::OpCall& c = run.c;
  const Sizes& s = run.s;
  const auto [block, step] = run.template memory<Scan<T>>();
  const attn_view* before = c.in(kState);
  const attn_view* after = c.out(1);
  const int64_t state_size = s.features * (s.width + 2);
  c.loop(s.batch * s.heads, 1,
         [&, block = block, step = step](int64_t begin, int64_t end, int32_t worker) {
           for (int64_t i = begin; i < end; ++i) {
             const int64_t b = i / s.heads, h = i % s.heads;
             Workspace<T> w(block + worker * step);
             Scan<T> p(run, h, w);
             if (before)
               p.state.load(s, sdk::data<const T>(*before) + i * state_size);
             else
               p.state.clear(s);
             const Head<const T> q(*c.in(kQuery), b, h), key(*c.in(kKey), b, h),
                 value(*c.in(kValue), b, h);
             const Head<T> out(*c.out(0), b, h);
             for (int64_t at = 0; at < s.tokens;) {
               const int64_t n =
                   p.chunk.load(p.features, key, value, at, s.tokens - at, p.state, p.next);
               p.queries.read(p.features, q, at, n, p.chunk, p.next);
               p.queries.tile.invert(n);
               p.queries.tile.write(out, at, n);
               p.chunk.finish(n, p.next);
               std::swap(p.state, p.next);
               if (lengths) lengths[i * s.tokens + at] = static_cast<int32_t>(n);
               at += n;
             }
             if (after) p.state.store(s, sdk::data<T>(*after) + i * state_size);
           }
         });
}

// The backward scan goes through the chunks in reverse, carrying D_f = sum of
// b_nf [dout_n, -dout_n . out_n] over the queries behind the chunk, b_nf = t_nf
// / (denominator of n), on the scale of the chunk's end. The states before the
// chunks are made again: kept at every `stride` chunks, and for the chunks
// between.
template <class T>
struct ReverseScan {
  const Run<T>& run;
  Features<T> features;
  Chunk<T> chunk;
  ChunkQueries<T> queries;
  GradientTile<T> gradient;
  T *x, *y, *z, *near, *near_across, *work, *sent;
  Sums<T> next;
  int64_t state_size;
  T* states;  // (2 * stride + 1) of them: kept ones first

  ReverseScan(const Run<T>& r, int64_t h, Workspace<T>& w, int64_t kept)
      : run(r),
        features(r.s, r.f, r.projection(h), w),
        chunk(r, w, true),
        queries(r, w),
        gradient(r.s, w),
        x(w.take(r.s.features * kTile)),
        y(nullptr),
        z(w.take(r.s.features * kTile)),
        near(w.take(kTile * kTile)),
        near_across(w.take(kTile * kTile)),
        work(w.take(kTile * r.s.wide)),
        sent(w.take(r.s.features * r.s.wide)),
        next(take_sums<T>(r.s, w)),
        state_size((r.s.features * (r.s.wide + 1) + 15) / 16 * 16),
        states(w.take(kept * state_size)) {}

  [[nodiscard]] Sums<T> state(int64_t i) const {
    return {states + i * state_size, states + i * state_size + run.s.features};
  }

  // One chunk of n tokens behind `before`; adds to the gradients of its tokens
  // and to `sent`.
  void step(int64_t b, int64_t h, int64_t begin, int64_t n, const Sums<T>& before) {
    const sdk::OpCall& c = run.c;
    const Sizes& s = run.s;
    const Functions<T>& f = run.f;
    const int64_t columns = Features<T>::columns(n);
    const Head<const T> q(*c.in(kQuery), b, h), key(*c.in(kKey), b, h), value(*c.in(kValue), b, h);
    chunk.load(features, key, value, begin, n, before, next);
    queries.read(features, q, begin, n, chunk, next);
    queries.tile.invert(n);
    gradient.load({*c.dout(0), b, h}, begin, n, queries.tile);
    T* t = queries.tile.t;

    // near[n][j] = dout_n . (v_j - out_n) for j <= n, 0 for later keys.
    f.product(n, columns, s.width + 1, gradient.rows, s.wide, 1, chunk.across, kTile, near, kTile,
              false);
    for (int64_t i = 0; i < n; ++i)
      std::fill(near + i * kTile + i + 1, near + i * kTile + columns, T(0));
    for (int64_t j = 0; j < n; ++j)
      for (int64_t i = 0; i < columns; ++i)
        near_across[j * kTile + i] = i < n ? near[i * kTile + j] : T(0);

    // Queries: what they get through the state and through the keys of the
    // chunk.
    f.product(s.features, columns, s.width + 1, next.u, s.wide, 1, gradient.across, kTile, x, kTile,
              false);
    f.product(s.features, columns, n, chunk.e, kTile, 1, near_across, kTile, x, kTile, true);
    f.multiply(s.features, columns, t, kTile, queries.tile.inverse, 0);  // t is b from here on
    if (c.din(kQuery)) {
      if (s.trig)
        f.multiply(s.features, columns, x, kTile, queries.tile.inverse, 0);
      else
        f.multiply(s.features, columns, x, kTile, t, kTile);
      features.pull_back(q, begin, n, true, x, {*c.din(kQuery), b, h}, work);
    }

    // Values: from later queries by D, from those of the chunk by their
    // weights.
    if (c.din(kValue)) {
      T* pairs = queries.pairs;
      for (int64_t i = 0; i < n; ++i)
        for (int64_t j = 0; j < columns; ++j)
          pairs[i * kTile + j] = j <= i ? pairs[i * kTile + j] * queries.tile.inverse[i] : T(0);
      f.product(n, s.wide, s.features, chunk.e, 1, kTile, sent, s.wide, work, s.wide, false);
      f.product(n, s.wide, n, pairs, 1, kTile, gradient.rows, s.wide, work, s.wide, true);
      add_rows(s, work, {*c.din(kValue), b, h}, begin, n);
    }
    // Keys.
    if (c.din(kKey)) {
      f.product(s.features, columns, s.width + 1, sent, s.wide, 1, chunk.across, kTile, z, kTile,
                false);
      f.product(s.features, columns, n, t, kTile, 1, near, kTile, z, kTile, true);
      if (!s.trig) f.multiply(s.features, columns, z, kTile, chunk.e, kTile);
      features.pull_back(key, begin, n, false, z, {*c.din(kKey), b, h}, work);
    }
    // D for the chunk before, on its scale.
    f.product(s.features, s.wide, n, t, kTile, 1, gradient.rows, s.wide, sent, s.wide, true);
    for (int64_t i = 0; i < s.features; ++i)
      if (chunk.ratio[i] != 1)
        for (int64_t e = 0; e < s.wide; ++e) sent[i * s.wide + e] *= chunk.ratio[i];
  }
};

template <class T>
void causal_backward(const Run<T>& run, const int32_t* lengths) {
  const sdk::OpCall& c = run.c;
  const Sizes& s = run.s;
  const int64_t heads = s.batch * s.heads;
  int64_t most = 1;
  for (int64_t i = 0; i < heads; ++i) {
    int64_t chunks = 0;
    for (int64_t at = 0; at < s.tokens; at += lengths[i * s.tokens + at]) ++chunks;
    most = std::max(most, chunks);
  }
  int64_t stride = 1;
  while (stride * stride < most) ++stride;

  const auto [block, step] = run.template memory<ReverseScan<T>>(2 * stride + 1);
  c.loop(heads, 1, [&, block = block, step = step](int64_t begin, int64_t end, int32_t worker) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t b = i / s.heads, h = i % s.heads;
      Workspace<T> w(block + worker * step);
      ReverseScan<T> p(run, h, w, 2 * stride + 1);
      const int32_t* length = lengths + i * s.tokens;
      const Head<const T> key(*c.in(kKey), b, h), value(*c.in(kValue), b, h);
      // From the state in slot `from` over the chunk at `at` to slot
      // `to`.
      const auto advance = [&](int64_t from, int64_t to, int64_t at) {
        p.chunk.load(p.features, key, value, at, length[at], p.state(from), p.next);
        p.chunk.finish(length[at], p.next);
        p.state(to).copy(s, p.next);
      };
      // Slots 0..stride-1: the states before chunks 0, stride, 2 stride
      // ...; the last slot: a running one.
      const int64_t running = 2 * stride;
      p.state(running).clear(s);
      int64_t chunks = 0;
      for (int64_t at = 0; at < s.tokens; at += length[at], ++chunks) {
        if (chunks % stride == 0) p.state(chunks / stride).copy(s, p.state(running));
        advance(running, running, at);
      }
      std::fill_n(p.sent, s.features * s.wide, T(0));
      for (int64_t group = (chunks - 1) / stride; group >= 0; --group) {
        const int64_t first = group * stride, count = std::min(stride, chunks - first);
        int64_t at = 0;
        for (int64_t k = 0; k < first; ++k) at += length[at];
        p.state(stride).copy(s, p.state(group));
        int64_t ends = at;
        for (int64_t k = 0; k < count; ++k) {
          if (k + 1 < count) advance(stride + k, stride + k + 1, ends);
          ends += length[ends];
        }
        for (int64_t k = count - 1; k >= 0; --k) {
          int64_t start = at;
          for (int64_t m = 0; m < k; ++m) start += length[start];
          p.step(b, h, start, length[start], p.state(stride + k));
        }
      }
    }
  });
}

}  // namespace attn::performer
