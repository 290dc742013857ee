// SPDX-License-Identifier: Apache-2.0
//
// The steps that every tile of tokens goes through, forward and backward.
//
// With `causal` a tile is a chunk of a scan: its queries see the sums over earlier chunks and, of its
// own keys, those up to their own token. All features of a chunk use the exponents g of its end. A
// later key can change g but no bit of an earlier row (sums.hpp), as long as nothing leaves the range
// of float: so a chunk ends before a key whose exponent exceeds that of the chunk's first row by more
// than kReach. Where a chunk ends depends on its own tokens and the next one alone, and causality holds
// to the last bit.
#pragma once

#include "features.hpp"
#include "sums.hpp"

namespace attn::performer {

// Of the 126 binary orders below 1 that float has, a chunk uses this many; denominators stay above
// 2^-(kReach + 1), and what is lost below them is smaller than their rounding by 2^-60.
inline constexpr int kReach = 40;

// Tiles of head `head` = b H + h, one after the other, in the memory of one worker. [one-thread]
template <class T>
class Tile {
 public:
  Tile(const Run<T>& run, int64_t head, sdk::Arena& memory)
      : run_(run),
        s_(run.s),
        map_(run, head % run.s.heads, memory),
        q_{run.c.in(kQuery), head},
        k_{run.c.in(kKey), head},
        v_{run.c.in(kValue), head} {
    if (run.backward) {
      dout_ = {run.c.dout(0), head};
      dq_ = {run.c.din(kQuery), head}, dk_ = {run.c.din(kKey), head};
      dv_ = {run.c.din(kValue), head};
    } else {
      out_ = {run.c.out(0), head};
    }
    for (T** p : {&e_, &t_, &x_}) *p = memory.take<T>(s_.features * kTile);
    for (T** p : {&values_, &sums_, &gradients_, &work_}) *p = memory.take<T>(kTile * s_.wide);
    for (T** p : {&pairs_, &near_}) *p = memory.take<T>(kTile * kTile);
    for (T** p : {&peak_, &inverse_}) *p = memory.take<T>(kTile);
    for (T** p : {&row_peak_, &minus_g_}) *p = memory.take<T>(s_.features);
  }

  // ---- forward ------------------------------------------------------------------------------------

  // Features and values of the keys from `at` on, `most` of them or fewer; raises `sums` to their
  // exponents. Returns the number of tokens of the tile.
  int64_t load_keys(int64_t at, int64_t most, const Sums<T>& sums) {
    int64_t n = std::min(most, kTile);
    map_.load(k_, at, n, false, e_);
    if (!s_.trig) {
      run_.f.row_peaks(s_.features, round_up(n), e_, kTile, row_peak_);
      if (s_.causal) n = cut(n, sums.g);
      sums.raise(s_, row_peak_);
    }
    for (int64_t f = 0; f < s_.features; ++f) minus_g_[f] = -sums.g[f];
    map_.raise_keys(n, minus_g_, e_);
    load_rows(v_, at, n, values_);
    for (int64_t j = 0; j < n; ++j) values_[j * s_.wide + s_.width] = T(1);
    return n;
  }
  // Adds the keys that are loaded to the sums.
  void add_keys(int64_t n, const Sums<T>& sums) const {
    run_.product(s_.features, s_.wide, n, {e_, kTile}, {values_, s_.wide}, {sums.u, s_.wide}, true);
  }
  // Numerators and denominators of n queries, from the sums and with `causal` from the keys that are
  // loaded.
  void load_queries(int64_t at, int64_t n, const Sums<T>& sums) {
    map_.load(q_, at, n, true, t_);
    map_.raise_queries(n, sums.g, t_, peak_);
    run_.product(n, s_.wide, s_.features, {t_, 1, kTile}, {sums.u, s_.wide}, {sums_, s_.wide});
    if (s_.causal) add_near(n);
    const T floor = s_.trig ? T(1e-6) : T(0);
    for (int64_t j = 0; j < n; ++j) inverse_[j] = 1 / (sums_[j * s_.wide + s_.width] + floor);
    std::fill(inverse_ + n, inverse_ + round_up(n), T(0));
  }
  void write(int64_t at, int64_t n) const {
    for (int64_t j = 0; j < n; ++j) {
      const auto divide = [by = inverse_[j]](T& y, T sum) { y = sum * by; };
      sdk::for_line(s_.width, divide, out_[at + j], row(sums_, j));
    }
  }

  // ---- backward: after load_keys() and load_queries() -----------------------------------------------
  //
  // With b_nf = t_nf / (denominator of n), keys need D_f = sum over n of b_nf [dout_n, -dout_n . out_n]
  // of the queries that see all keys of the tile: `sent` (m, wide).

  // Adds the gradient of the queries; t becomes b.
  void query_gradient(int64_t at, int64_t n, const Sums<T>& sums) {
    load_rows(dout_, at, n, gradients_);
    for (int64_t j = 0; j < n; ++j) {
      T *to = gradients_ + j * s_.wide, own = 0;
      for (int64_t i = 0; i < s_.width; ++i) own += to[i] * sums_[j * s_.wide + i] * inverse_[j];
      to[s_.width] = -own;
    }
    const int64_t columns = round_up(n);
    run_.product(s_.features, columns, s_.width + 1, {sums.u, s_.wide}, {gradients_, 1, s_.wide},
                 {x_, kTile});
    if (s_.causal) add_near_gradient(n);
    run_.f.multiply(s_.features, columns, t_, kTile, inverse_, 0);
    if (!dq_) return;
    if (s_.trig)
      run_.f.multiply(s_.features, columns, x_, kTile, inverse_, 0);
    else
      run_.f.multiply(s_.features, columns, x_, kTile, t_, kTile);
    map_.pull_back(q_, at, n, true, x_, dq_, work_);
  }
  void add_sent(int64_t n, T* sent) const {
    run_.product(s_.features, s_.wide, n, {t_, kTile}, {gradients_, s_.wide}, {sent, s_.wide},
                 true);
  }
  // Adds the gradients of the values and keys.
  void key_gradient(int64_t at, int64_t n, const T* sent) {
    if (dv_) {
      run_.product(n, s_.wide, s_.features, {e_, 1, kTile}, {sent, s_.wide}, {work_, s_.wide});
      if (s_.causal) add_near_values(n);
      const auto add = [](T& to, T element) { to += element; };
      for (int64_t j = 0; j < n; ++j) sdk::for_line(s_.width, add, dv_[at + j], row(work_, j));
    }
    if (!dk_) return;
    const int64_t columns = round_up(n);
    run_.product(s_.features, columns, s_.width + 1, {sent, s_.wide}, {values_, 1, s_.wide},
                 {x_, kTile});
    if (s_.causal)
      run_.product(s_.features, columns, n, {t_, kTile}, {near_, kTile}, {x_, kTile}, true);
    if (!s_.trig) run_.f.multiply(s_.features, columns, x_, kTile, e_, kTile);
    map_.pull_back(k_, at, n, false, x_, dk_, work_);
  }

 private:
  sdk::Line<const T> row(const T* rows, int64_t j) const { return {rows + j * s_.wide, 1}; }

  // to (n, wide) = n tokens, zeros in the other columns and in padding rows.
  void load_rows(const Head<const T>& x, int64_t at, int64_t n, T* to) const {
    std::fill_n(to, round_up(n) * s_.wide, T(0));
    const auto copy = [](T& y, T element) { y = element; };
    for (int64_t j = 0; j < n; ++j)
      sdk::for_line(s_.width, copy, sdk::Line<T>{to + j * s_.wide, 1}, x[at + j]);
  }

  // How many of n tokens the chunk may have; the features of the others become those of padding.
  [[nodiscard]] int64_t cut(int64_t n, const T* g) const {
    int64_t end = n;
    for (int64_t f = 0; f < s_.features; ++f) {
      const T *own = e_ + f * kTile, most = std::max(g[f], std::nearbyint(own[0])) + T(kReach);
      if (!(row_peak_[f] > most)) continue;
      for (int64_t j = 1; j < end; ++j)
        if (std::nearbyint(own[j]) > most) end = j;
    }
    if (end == n) return n;
    for (int64_t f = 0; f < s_.features; ++f)
      std::fill(e_ + f * kTile + end, e_ + f * kTile + round_up(n), kNever<T>);
    run_.f.row_peaks(s_.features, round_up(end), e_, kTile, row_peak_);
    return end;
  }

  // Adds what the chunk's own keys give to its queries. Row n takes keys up to n; later ones are not
  // even multiplied by 0, because 0 NaN is NaN.
  void add_near(int64_t n) const {
    run_.product(n, round_up(n), s_.features, {t_, 1, kTile}, {e_, kTile}, {pairs_, kTile});
    constexpr int64_t kStep = 8;
    for (int64_t top = 0; top < n; top += kStep) {
      const int64_t end = std::min(n, top + kStep);
      const T *pairs = pairs_ + top * kTile, *values = values_ + top * s_.wide;
      run_.product(end - top, s_.wide, top, {pairs, kTile}, {values_, s_.wide},
                   {sums_ + top * s_.wide, s_.wide}, true);
      for (int64_t i = top; i < end; ++i)
        run_.product(1, s_.wide, i - top + 1, {pairs_ + i * kTile + top, kTile}, {values, s_.wide},
                     {sums_ + i * s_.wide, s_.wide}, true);
    }
  }
  // near[n][j] = dout_n . (v_j - out_n) for j <= n, 0 for later keys; adds e near^T to x.
  void add_near_gradient(int64_t n) const {
    run_.product(n, round_up(n), s_.width + 1, {gradients_, s_.wide}, {values_, 1, s_.wide},
                 {near_, kTile});
    std::fill(near_ + n * kTile, near_ + round_up(n) * kTile, T(0));
    for (int64_t i = 0; i < n; ++i)
      std::fill(near_ + i * kTile + i + 1, near_ + i * kTile + round_up(n), T(0));
    run_.product(s_.features, round_up(n), n, {e_, kTile}, {near_, 1, kTile}, {x_, kTile}, true);
  }
  // Adds what the values get from the chunk's own queries, by their weights.
  void add_near_values(int64_t n) const {
    for (int64_t i = 0; i < n; ++i)
      for (int64_t j = 0; j < n; ++j)
        pairs_[i * kTile + j] = j <= i ? pairs_[i * kTile + j] * inverse_[i] : T(0);
    run_.product(n, s_.wide, n, {pairs_, 1, kTile}, {gradients_, s_.wide}, {work_, s_.wide}, true);
  }

  const Run<T>& run_;
  const Sizes& s_;
  Features<T> map_;
  Head<const T> q_, k_, v_, dout_;
  Head<T> out_, dq_, dk_, dv_;
  T *e_, *t_, *x_;                          // (m, kTile): of keys, of queries, their gradients
  T *values_, *sums_, *gradients_, *work_;  // (kTile, wide): [v, 1], [numerators, denominator]
  T *pairs_, *near_;                        // (kTile, kTile): sum over f of t_nf e_fj, its gradient
  T *peak_, *inverse_;                      // (kTile): 1 / denominator
  T *row_peak_, *minus_g_;                  // (m)
};

// Tokens [begin, end) of a head; index counts the segments of all heads.
struct Segment {
  int64_t head, index, begin, end;
  int32_t worker;
};
inline int64_t segments(const Sizes& s, int64_t length) { return (s.tokens + length - 1) / length; }

// task(tile, segment) for all segments of `length` tokens, in parallel.
template <class T, class F>
void each_segment(const Run<T>& run, int64_t length, F&& task) {
  const Sizes& s = run.s;
  const int64_t n = segments(s, length);
  const sdk::WorkerMemory memory(run.c, [&](sdk::Arena& arena) { Tile<T>(run, 0, arena); });
  run.c.loop(s.batch * s.heads * n, 1, [&](int64_t begin, int64_t end, int32_t worker) {
    for (int64_t i = begin; i < end; ++i) {
      sdk::Arena arena = memory[worker];
      Tile<T> tile(run, i / n, arena);
      const int64_t first = i % n * length;
      task(tile, Segment{i / n, i, first, std::min(first + length, s.tokens), worker});
    }
  });
}

}  // namespace attn::performer
