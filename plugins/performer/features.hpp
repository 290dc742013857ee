// SPDX-License-Identifier: Apache-2.0
//
// Random features of a tile of tokens, and their gradient. w_f is a row of the projection, q and k a
// query and a key, d the width of a head, m the number of features.
//   positive      a_nf = w_f . q', c_fj = w_f . k' - |k'|^2 / 2, x' = x d^(-1/4): exponents
//                 (Choromanski et al. 2020, Lemma 1; what cancels in the ratio is left out)
//   clamped_trig  max(0, sqrt(2 / m) [cos(w q'), sin(w q')] exp(-|q'|^2 / 2)), q' = q / sqrt(d);
//                 for keys the same of w k without the last factor
// Padding columns after the last token are ignored. Memory: of one worker. [one-thread]
#pragma once

#include "run.hpp"

namespace attn::performer {

template <class T>
class Features {
 public:
  Features(const Run<T>& run, int64_t h, sdk::Arena& memory)
      : run_(run),
        s_(run.s),
        w_(run.projection(h)),
        x_(memory.take<T>(s_.wide * kTile)),
        angle_(memory.take<T>(s_.trig ? s_.rows * kTile : 0)),
        envelope_(memory.take<T>(kTile)) {}

  // positive: the exponents c (or a); clamped_trig: the features themselves.
  void load(const Head<const T>& x, int64_t at, int64_t n, bool query, T* out) {
    transpose(x, at, n, query);
    if (s_.trig) return waves(n, query, out);
    if (!query) {
      T* square = x_ + s_.width * kTile;
      std::fill_n(square, round_up(n), T(0));
      for (int64_t i = 0; i < s_.width; ++i)
        for (int64_t j = 0; j < n; ++j) square[j] += x_[i * kTile + j] * x_[i * kTile + j];
      for (int64_t j = 0; j < n; ++j) square[j] *= T(0.5 / kLog2e);
      std::fill(square + n, square + round_up(n), -kNever<T>);
    }
    multiply(n, query ? s_.width : s_.width + 1, out);
  }

  // Exponents become features: of keys 2^(c - g), of queries 2^(a + g - M) with M the largest whole
  // exponent of the token. Nothing to do for clamped_trig.
  void raise_keys(int64_t n, const T* minus_g, T* e) const {
    if (!s_.trig) run_.f.powers(s_.features, round_up(n), e, kTile, minus_g, nullptr);
  }
  void raise_queries(int64_t n, const T* g, T* t, T* peak) const {
    if (s_.trig) return;
    run_.f.column_peaks(s_.features, round_up(n), t, kTile, g, peak);
    for (int64_t j = 0; j < round_up(n); ++j) peak[j] = -peak[j];
    run_.f.powers(s_.features, round_up(n), t, kTile, g, peak);
  }

  // Adds to dx the gradient of the tokens, given that of the exponents (positive, in natural
  // logarithms) or of the features (clamped_trig). work: (n, wide).
  void pull_back(const Head<const T>& x, int64_t at, int64_t n, bool query, T* dfeature,
                 const Head<T>& dx, T* work) {
    if (s_.trig) pull_back_waves(x, at, n, query, dfeature);
    run_.product(n, s_.wide, s_.rows, {dfeature, 1, kTile}, {w_, s_.wide}, {work, s_.wide});
    const T factor = static_cast<T>(query ? s_.query_factor() : s_.key_factor());
    for (int64_t j = 0; j < n; ++j) {
      const T* row = work + j * s_.wide;
      // How often x' is subtracted: column d for keys, the share of the envelope for queries.
      const T own = query == s_.trig ? (query ? -envelope_[j] : row[s_.width]) : T(0);
      const auto add = [&](T& to, T from, T gradient) {
        to += factor * (gradient + own * factor * from);
      };
      sdk::for_line(s_.width, add, dx[at + j], x[at + j], sdk::Line<const T>{row, 1});
    }
  }

 private:
  static constexpr double kLog2e = 1.44269504088896340735992468100189214;

  // x_ (d, kTile) = x'; for positive in units of log2(e).
  void transpose(const Head<const T>& x, int64_t at, int64_t n, bool query) {
    const double by = query ? s_.query_factor() : s_.key_factor();
    const T factor = static_cast<T>(by * (s_.trig ? 1 : kLog2e));
    for (int64_t i = 0; i < s_.width; ++i) {
      // Many tokens at a time: the processor waits for them together.
      T* to = x_ + i * kTile;
      const sdk::Line<const T> from = x.column(at, i);
      for (int64_t j = 0; j < n; ++j) to[j] = from[j] * factor;
      std::fill(to + n, to + round_up(n), T(0));
    }
  }
  // out (rows, kTile) = projection, `depth` columns of it, times x_.
  void multiply(int64_t n, int64_t depth, T* out) const {
    run_.product(s_.rows, round_up(n), depth, {w_, s_.wide}, {x_, kTile}, {out, kTile});
  }

  // The size of the waves of the token in column j of x_: of a query times exp(-|q'|^2 / 2).
  [[nodiscard]] T size(int64_t j, bool query) const {
    if (!query) return static_cast<T>(s_.trig_scale);
    T square = 0;
    for (int64_t i = 0; i < s_.width; ++i) square += x_[i * kTile + j] * x_[i * kTile + j];
    return static_cast<T>(s_.trig_scale) * std::exp(-square / 2);
  }
  void waves(int64_t n, bool query, T* out) {
    multiply(n, s_.width, angle_);
    for (int64_t j = 0; j < round_up(n); ++j) {
      const T amplitude = j < n ? size(j, query) : T(0);
      for (int64_t f = 0; f < s_.rows; ++f) {
        const T u = angle_[f * kTile + j];
        out[f * kTile + j] = std::max<T>(0, amplitude * std::cos(u));
        out[(s_.rows + f) * kTile + j] = std::max<T>(0, amplitude * std::sin(u));
      }
    }
  }
  // The gradient of the angles goes to the first rows of dfeature, the sum of gradient times feature
  // to envelope_.
  void pull_back_waves(const Head<const T>& x, int64_t at, int64_t n, bool query, T* dfeature) {
    transpose(x, at, n, query);
    multiply(n, s_.width, angle_);
    for (int64_t j = 0; j < n; ++j) {
      const T amplitude = size(j, query);
      T sum = 0;
      for (int64_t f = 0; f < s_.rows; ++f) {
        T &first = dfeature[f * kTile + j], second = dfeature[(s_.rows + f) * kTile + j];
        const T u = angle_[f * kTile + j], c = amplitude * std::cos(u), s = amplitude * std::sin(u);
        const T dc = c > 0 ? first : T(0), ds = s > 0 ? second : T(0);
        sum += dc * c + ds * s;
        first = ds * c - dc * s;
      }
      envelope_[j] = sum;
    }
  }

  const Run<T>& run_;
  const Sizes& s_;
  const T* w_;
  T *x_, *angle_, *envelope_;
};

}  // namespace attn::performer
