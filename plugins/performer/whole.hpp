// SPDX-License-Identifier: Apache-2.0
//
// Every query sees every key: the sums over all keys first, then each query by
// itself. Keys are summed in segments of fixed length that are joined in order,
// so that the result does not depend on the number of threads and one head
// keeps many busy.
#pragma once

#include "call.hpp"

namespace attn::performer {

inline constexpr int64_t kSegment = 2048;  // tokens, a multiple of kTile

inline int64_t segments(const Sizes& s) { return (s.tokens + kSegment - 1) / kSegment; }

// task(b, h, segment, first token, end, worker) for all of them.
template <class F>
void each_segment(const sdk::OpCall& c, const Sizes& s, F&& task) {
  const int64_t n = segments(s);
  c.loop(s.batch * s.heads * n, 1, [&](int64_t begin, int64_t end, int32_t worker) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t segment = i % n, first = segment * kSegment;
      task(i / n / s.heads, i / n % s.heads, segment, first, std::min(first + kSegment, s.tokens),
           worker);
    }
  });
}

// States in a row, one for each index.
template <class T>
class States {
 public:
  States(const sdk::OpCall& c, const Sizes& s, int64_t n)
      : step_(s.features * (s.wide + 1)),
        features_(s.features),
        memory_(c.scratch_array<T>(static_cast<size_t>(step_ * n) + 1)) {}
  [[nodiscard]] Sums<T> operator[](int64_t i) const {
    return {memory_ + i * step_, memory_ + i * step_ + features_};
  }

 private:
  int64_t step_, features_;
  T* memory_;
};

// Adds up keys.
template <class T>
struct KeyPass {
  const Run<T>& run;
  Features<T> features;
  T *e, *v, *peak, *shift;

  KeyPass(const Run<T>& r, int64_t h, Workspace<T>& w)
      : run(r),
        features(r.s, r.f, r.projection(h), w),
        e(w.take(r.s.features * kTile)),
        v(w.take(kTile * r.s.wide)),
        peak(w.take(r.s.features)),
        shift(w.take(r.s.features)) {}

  void add(const Head<const T>& key, const Head<const T>& value, int64_t begin, int64_t end,
           const Sums<T>& sums) {
    const Sizes& s = run.s;
    for (int64_t at = begin; at < end; at += kTile) {
      const int64_t n = std::min(kTile, end - at), columns = Features<T>::columns(n);
      features.keys(key, at, n, e);
      if (!s.trig) {
        run.f.row_peaks(s.features, columns, e, kTile, peak);
        sums.raise(s, peak);
      }
      negate(s.features, sums.g, shift);
      features.raise_keys(n, shift, e);
      load_values(s, value, at, n, v);
      run.f.product(s.features, s.wide, n, e, kTile, 1, v, s.wide, sums.u, s.wide, true);
    }
  }
};

// Reads the sums.
template <class T>
struct QueryPass {
  Features<T> features;
  QueryTile<T> tile;
  QueryPass(const Run<T>& r, int64_t h, Workspace<T>& w)
      : features(r.s, r.f, r.projection(h), w), tile(r, w) {}
};

// The sums over all keys of each head: states [0, B H).
template <class T>
States<T> all_keys(const Run<T>& run) {
  const sdk::OpCall& c = run.c;
  const Sizes& s = run.s;
  const int64_t n = segments(s), heads = s.batch * s.heads;
  const States<T> total(c, s, heads), part(c, s, heads * n);
  const auto [block, step] = run.template memory<KeyPass<T>>();
  each_segment(c, s,
               [&, block = block, step = step](int64_t b, int64_t h, int64_t segment, int64_t first,
                                               int64_t end, int32_t worker) {
                 Workspace<T> w(block + worker * step);
                 KeyPass<T> pass(run, h, w);
                 const Sums<T> sums = part[(b * s.heads + h) * n + segment];
                 sums.clear(s);
                 pass.add({*c.in(kKey), b, h}, {*c.in(kValue), b, h}, first, end, sums);
               });
  c.loop(heads, 1, [&](int64_t begin, int64_t end, int32_t) {
    for (int64_t i = begin; i < end; ++i) {
      total[i].copy(s, part[i * n]);
      for (int64_t k = 1; k < n; ++k) total[i].join(s, part[i * n + k]);
    }
  });
  return total;
}

// Queries [begin, end) of a head.
template <class T>
void read_queries(const Run<T>& run, QueryPass<T>& pass, int64_t b, int64_t h, int64_t begin,
                  int64_t end, const Sums<T>& sums) {
  const Head<const T> q(*run.c.in(kQuery), b, h);
  const Head<T> out(*run.c.out(0), b, h);
  for (int64_t at = begin; at < end; at += kTile) {
    const int64_t n = std::min(kTile, end - at);
    pass.tile.read(pass.features, q, at, n, sums.g, sums.u);
    pass.tile.invert(n);
    pass.tile.write(out, at, n);
  }
}

// A head of one segment: the sums are a worker's own.
template <class T>
struct ShortPass {
  KeyPass<T> keys;
  QueryPass<T> queries;
  Sums<T> sums;
  ShortPass(const Run<T>& r, int64_t h, Workspace<T>& w)
      : keys(r, h, w),
        queries(r, h, w),
        sums{w.take(r.s.features), w.take(r.s.features * r.s.wide)} {}
};

// saved: (B H, features, d + 2), for the gradient; nullptr: not wanted.
template <class T>
void whole_forward(const Run<T>& run, T* saved) {
  const sdk::OpCall& c = run.c;
  const Sizes& s = run.s;
  const int64_t state_size = s.features * (s.width + 2);
  if (segments(s) == 1) {
    const auto [block, step] = run.template memory<ShortPass<T>>();
    each_segment(c, s,
                 [&, block = block, step = step](int64_t b, int64_t h, int64_t, int64_t first,
                                                 int64_t end, int32_t worker) {
                   Workspace<T> w(block + worker * step);
                   ShortPass<T> pass(run, h, w);
                   pass.sums.clear(s);
                   pass.keys.add({*c.in(kKey), b, h}, {*c.in(kValue), b, h}, first, end, pass.sums);
                   read_queries(run, pass.queries, b, h, first, end, pass.sums);
                   if (saved) pass.sums.store(s, saved + (b * s.heads + h) * state_size);
                 });
    return;
  }
  const States<T> total = all_keys(run);
  if (saved)
    for (int64_t i = 0; i < s.batch * s.heads; ++i) total[i].store(s, saved + i * state_size);
  const auto [block, step] = run.template memory<QueryPass<T>>();
  each_segment(c, s,
               [&, block = block, step = step](int64_t b, int64_t h, int64_t, int64_t first,
                                               int64_t end, int32_t worker) {
                 Workspace<T> w(block + worker * step);
                 QueryPass<T> pass(run, h, w);
                 read_queries(run, pass, b, h, first, end, total[b * s.heads + h]);
               });
}

// Gradients of queries, and what keys need of them: D_f = sum_n P_nf / z_f
// [dout_n, -dout_n . out_n].
template <class T>
struct QueryGradient : QueryPass<T> {
  GradientTile<T> gradient;
  T *x, *work;
  QueryGradient(const Run<T>& r, int64_t h, Workspace<T>& w)
      : QueryPass<T>(r, h, w),
        gradient(r.s, w),
        x(w.take(r.s.features * kTile)),
        work(w.take(kTile * r.s.wide)) {}
};

// Gradients of keys and values.
template <class T>
struct KeyGradient {
  Features<T> features;
  T *e, *v, *across, *x, *work, *shift;
  KeyGradient(const Run<T>& r, int64_t h, Workspace<T>& w)
      : features(r.s, r.f, r.projection(h), w),
        e(w.take(r.s.features * kTile)),
        v(w.take(kTile * r.s.wide)),
        across(w.take(r.s.wide * kTile)),
        x(w.take(r.s.features * kTile)),
        work(w.take(kTile * r.s.wide)),
        shift(w.take(r.s.features)) {}
};

template <class T>
void whole_backward(const Run<T>& run, const T* saved) {
  const sdk::OpCall& c = run.c;
  const Sizes& s = run.s;
  const int64_t segment_count = segments(s), heads = s.batch * s.heads;
  const States<T> total(c, s, heads), part(c, s, heads * segment_count);
  for (int64_t i = 0; i < heads; ++i) total[i].load(s, saved + i * s.features * (s.width + 2));

  const auto [q_block, q_step] = run.template memory<QueryGradient<T>>();
  each_segment(c, s,
               [&, block = q_block, step = q_step](int64_t b, int64_t h, int64_t segment,
                                                   int64_t first, int64_t end, int32_t worker) {
                 Workspace<T> w(block + worker * step);
                 QueryGradient<T> p(run, h, w);
                 const Sums<T> sums = total[b * s.heads + h];
                 T* sent = part[(b * s.heads + h) * segment_count + segment].u;
                 std::fill_n(sent, s.features * s.wide, T(0));
                 const Head<const T> q(*c.in(kQuery), b, h), dout(*c.dout(0), b, h);
                 for (int64_t at = first; at < end; at += kTile) {
                   const int64_t n = std::min(kTile, end - at), columns = Features<T>::columns(n);
                   p.tile.read(p.features, q, at, n, sums.g, sums.u);
                   p.tile.invert(n);
                   p.gradient.load(dout, at, n, p.tile);
                   run.f.product(s.features, columns, s.width + 1, sums.u, s.wide, 1,
                                 p.gradient.across, kTile, p.x, kTile, false);
                   run.f.multiply(s.features, columns, p.tile.t, kTile, p.tile.inverse, 0);
                   run.f.product(s.features, s.wide, n, p.tile.t, kTile, 1, p.gradient.rows, s.wide,
                                 sent, s.wide, true);
                   if (!c.din(kQuery)) continue;
                   if (s.trig)
                     run.f.multiply(s.features, columns, p.x, kTile, p.tile.inverse, 0);
                   else
                     run.f.multiply(s.features, columns, p.x, kTile, p.tile.t, kTile);
                   p.features.pull_back(q, at, n, true, p.x, {*c.din(kQuery), b, h}, p.work);
                 }
               });
  if (!c.din(kKey) && !c.din(kValue)) return;
  c.loop(heads, 1, [&](int64_t begin, int64_t end, int32_t) {
    for (int64_t i = begin; i < end; ++i) {
      T* to = part[i * segment_count].u;
      for (int64_t k = 1; k < segment_count; ++k) {
        const T* from = part[i * segment_count + k].u;
        for (int64_t e = 0; e < s.features * s.wide; ++e) to[e] += from[e];
      }
    }
  });

  const auto [k_block, k_step] = run.template memory<KeyGradient<T>>();
  each_segment(c, s,
               [&, block = k_block, step = k_step](int64_t b, int64_t h, int64_t, int64_t first,
                                                   int64_t end, int32_t worker) {
                 Workspace<T> w(block + worker * step);
                 KeyGradient<T> p(run, h, w);
                 const T* sent = part[(b * s.heads + h) * segment_count].u;
                 negate(s.features, total[b * s.heads + h].g, p.shift);
                 const Head<const T> key(*c.in(kKey), b, h), value(*c.in(kValue), b, h);
                 for (int64_t at = first; at < end; at += kTile) {
                   const int64_t n = std::min(kTile, end - at), columns = Features<T>::columns(n);
                   p.features.keys(key, at, n, p.e);
                   p.features.raise_keys(n, p.shift, p.e);
                   load_values(s, value, at, n, p.v, p.across);
                   if (c.din(kValue)) {
                     run.f.product(n, s.wide, s.features, p.e, 1, kTile, sent, s.wide, p.work,
                                   s.wide, false);
                     add_rows(s, p.work, {*c.din(kValue), b, h}, at, n);
                   }
                   if (!c.din(kKey)) continue;
                   run.f.product(s.features, columns, s.width + 1, sent, s.wide, 1, p.across, kTile,
                                 p.x, kTile, false);
                   if (!s.trig) run.f.multiply(s.features, columns, p.x, kTile, p.e, kTile);
                   p.features.pull_back(key, at, n, false, p.x, {*c.din(kKey), b, h}, p.work);
                 }
               });
}

}  // namespace attn::performer
