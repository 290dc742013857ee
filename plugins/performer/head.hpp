// SPDX-License-Identifier: Apache-2.0
//
// One head of one example: features of a tile of tokens, and the running sums
// over keys.
//
// Notation. w_f a row of the projection, q and k a query and a key, d the width
// of a head, m features.
//   positive      a_nf = w_f . q', c_fj = w_f . k' - |k'|^2 / 2, x' = x
//   d^(-1/4)
//                 (Choromanski et al. 2020, Lemma 1; what cancels in the ratio
//                 is left out)
//   clamped_trig  max(0, sqrt(2 / m) [cos(w q'), sin(w q')] exp(-|q'|^2 / 2)),
//   q' = q / sqrt(d); for keys the
//                 same of w k without the last factor
// Logarithms are to base 2 throughout. Of each feature the running state keeps
// a whole number g_f, the largest exponent among the keys so far, and U'_f =
// sum_j 2^(c_fj - g_f) [v_j, 1]: the sum of the values and, in column d, of the
// weights. Because g is whole, another g changes exponents and no other bit
// (kernels.hpp).
//
// Rows of values, gradients and sums are `wide` = d + 1 rounded up to kLanes
// numbers apart.
#pragma once

#include <attn/sdk/plugin.hpp>

#include <algorithm>
#include <cmath>

#include "kernels/kernels.hpp"

namespace attn::performer {

// 2^e for a whole e; 0 where T has no such number.
template <class T>
T power_of_two(T e) {
  return e > T(-5000) ? std::ldexp(T(1), static_cast<int>(std::min(e, T(1023)))) : T(0);
}

inline constexpr int64_t kTile = 64;  // tokens

struct Sizes {
  int64_t batch, heads, tokens, width;  // B, H, S, d
  int64_t rows, features, wide;         // of the projection; m; row length of values
  bool trig;
  double trig_scale;  // sqrt(2 / nb_features)

  [[nodiscard]] double query_factor() const {
    const auto d = static_cast<double>(width);
    return trig ? 1 / std::sqrt(d) : 1 / std::sqrt(std::sqrt(d));
  }
  [[nodiscard]] double key_factor() const { return trig ? 1 : query_factor(); }
  // Added to the denominator.
  [[nodiscard]] double floor() const { return trig ? 1e-6 : 0; }
};

// One head of a (batch, head, token, element) tensor.
template <class T>
struct Head {
  T* data = nullptr;
  int64_t row = 0, element = 0;
  Head() = default;
  Head(const attn_view& v, int64_t b, int64_t h)
      : data(sdk::data<T>(v) + b * v.stride[0] + h * v.stride[1]),
        row(v.stride[2]),
        element(v.stride[3]) {}
  [[nodiscard]] T& at(int64_t token, int64_t i) const { return data[token * row + i * element]; }
};

// Memory of one worker, cut from one block; without a block it only counts.
template <class T>
class Workspace {
 public:
  explicit Workspace(T* block) : block_(block) {}
  T* take(int64_t n) {
    T* p = block_ ? block_ + used_ : nullptr;
    used_ += (n + 15) / 16 * 16;
    return p;
  }
  [[nodiscard]] int64_t used() const { return used_; }

 private:
  T* block_;
  int64_t used_ = 0;
};

// (rows, wide): w_f, then -1, so that a product with [x', square] subtracts the
// square. For the sums of gradients of keys the same column counts how often k'
// is to be taken away.
template <class T>
void padded_projection(const Sizes& s, const attn_view& w, int64_t h, T* to) {
  const T* from = sdk::data<const T>(w) + h * w.stride[0];
  for (int64_t f = 0; f < s.rows; ++f) {
    T* row = to + f * s.wide;
    for (int64_t i = 0; i < s.width; ++i) row[i] = from[f * w.stride[1] + i * w.stride[2]];
    row[s.width] = T(-1);
    std::fill(row + s.width + 1, row + s.wide, T(0));
  }
}

// Makes the features of tiles. Columns behind the last token count for nothing.
template <class T>
class Features {
 public:
  Features(const Sizes& s, const Functions<T>& f, const T* projection, Workspace<T>& w)
      : s_(s), f_(f), w_(projection), x_(w.take(s.wide * kTile)) {
    if (s.trig) angle_ = w.take(s.rows * kTile);
  }

  [[nodiscard]] static int64_t columns(int64_t n) { return (n + kLanes - 1) / kLanes * kLanes; }

  // positive: the exponents c (or a); clamped_trig: the features themselves.
  void keys(const Head<const T>& k, int64_t begin, int64_t n, T* out) {
    transpose(k, begin, n, s_.trig ? 1 : s_.key_factor() * kLog2e);
    if (s_.trig) return waves(n, out, false);
    T* square = x_ + s_.width * kTile;
    std::fill_n(square, columns(n), T(0));
    for (int64_t i = 0; i < s_.width; ++i)
      for (int64_t j = 0; j < n; ++j) square[j] += x_[i * kTile + j] * x_[i * kTile + j];
    for (int64_t j = 0; j < n; ++j) square[j] *= T(0.5 / kLog2e);
    std::fill(square + n, square + columns(n), -kNever<T>);
    f_.product(s_.rows, columns(n), s_.width + 1, w_, s_.wide, 1, x_, kTile, out, kTile, false);
  }
  void queries(const Head<const T>& q, int64_t begin, int64_t n, T* out) {
    transpose(q, begin, n, s_.query_factor() * (s_.trig ? 1 : kLog2e));
    if (s_.trig) return waves(n, out, true);
    f_.product(s_.rows, columns(n), s_.width, w_, s_.wide, 1, x_, kTile, out, kTile, false);
  }

  // Turns exponents into features 2^(c - g): nothing to do for clamped_trig.
  void raise_keys(int64_t n, const T* minus_g, T* e) const {
    if (!s_.trig) f_.powers(s_.features, columns(n), e, kTile, minus_g, nullptr);
  }
  // 2^(a + g - M), M the largest whole exponent of the token.
  void raise_queries(int64_t n, const T* g, T* t, T* peak) const {
    if (s_.trig) return;
    f_.column_peaks(s_.features, columns(n), t, kTile, g, peak);
    for (int64_t j = 0; j < columns(n); ++j) peak[j] = -peak[j];
    f_.powers(s_.features, columns(n), t, kTile, g, peak);
  }

  // Adds the gradient of the tokens, given that of their features: of the
  // exponents for positive (in natural logarithms), of the features for
  // clamped_trig. out: (n, wide) to work in.
  void pull_back(const Head<const T>& x, int64_t begin, int64_t n, bool query, T* dfeature,
                 const Head<T>& dx, T* out) {
    if (s_.trig) pull_back_waves(x, begin, n, query, dfeature);
    f_.product(n, s_.wide, s_.rows, dfeature, 1, kTile, w_, s_.wide, out, s_.wide, false);
    const T factor = static_cast<T>(query ? s_.query_factor() : s_.key_factor());
    for (int64_t j = 0; j < n; ++j) {
      // How often x' is taken away: all of column d for keys, the envelope's
      // share for queries.
      const T* row = out + j * s_.wide;
      const T own = query ? (s_.trig ? -envelope_[j] : T(0)) : s_.trig ? T(0) : row[s_.width];
      for (int64_t i = 0; i < s_.width; ++i)
        dx.at(begin + j, i) += factor * (row[i] + own * factor * x.at(begin + j, i));
    }
  }

 private:
  static constexpr double kLog2e = 1.44269504088896340735992468100189214;

  void transpose(const Head<const T>& x, int64_t begin, int64_t n, double by) {
    const T factor = static_cast<T>(by);
    for (int64_t i = 0; i < s_.width; ++i) {
      T* to = x_ + i * kTile;
      for (int64_t j = 0; j < n; ++j) to[j] = x.at(begin + j, i) * factor;
      std::fill(to + n, to + columns(n), T(0));
    }
  }

  // The envelope exp(-|q'|^2 / 2) of the query in column j of x_.
  [[nodiscard]] T decay(int64_t j) const {
    T square = 0;
    for (int64_t i = 0; i < s_.width; ++i) square += x_[i * kTile + j] * x_[i * kTile + j];
    return std::exp(-square / 2);
  }
  void angles(int64_t n) {
    f_.product(s_.rows, columns(n), s_.width, w_, s_.wide, 1, x_, kTile, angle_, kTile, false);
  }
  void waves(int64_t n, T* out, bool query) {
    angles(n);
    for (int64_t j = 0; j < columns(n); ++j) {
      const T size = j < n ? static_cast<T>(s_.trig_scale) * (query ? decay(j) : T(1)) : T(0);
      for (int64_t f = 0; f < s_.rows; ++f) {
        const T u = angle_[f * kTile + j];
        out[f * kTile + j] = std::max<T>(0, size * std::cos(u));
        out[(s_.rows + f) * kTile + j] = std::max<T>(0, size * std::sin(u));
      }
    }
  }
  // Leaves the gradient of the angles in the first rows of dfeature, and in
  // envelope_ the sum of gradient times feature.
  void pull_back_waves(const Head<const T>& x, int64_t begin, int64_t n, bool query, T* dfeature) {
    transpose(x, begin, n, query ? s_.query_factor() : 1);
    angles(n);
    for (int64_t j = 0; j < n; ++j) {
      const T size = static_cast<T>(s_.trig_scale) * (query ? decay(j) : T(1));
      T sum = 0;
      for (int64_t f = 0; f < s_.rows; ++f) {
        T &first = dfeature[f * kTile + j], second = dfeature[(s_.rows + f) * kTile + j];
        const T c = size * std::cos(angle_[f * kTile + j]),
                s = size * std::sin(angle_[f * kTile + j]);
        const T dc = c > 0 ? first : T(0), ds = s > 0 ? second : T(0);
        sum += dc * c + ds * s;
        first = ds * c - dc * s;
      }
      envelope_[j] = sum;
    }
  }

  const Sizes& s_;
  const Functions<T>& f_;
  const T* w_;
  T *x_, *angle_ = nullptr;
  T envelope_[kTile] = {};
};

// [v_j, 1] of a tile as rows (n, wide), zeros behind; with `across` also as
// columns (d + 1, kTile).
template <class T>
void load_values(const Sizes& s, const Head<const T>& v, int64_t begin, int64_t n, T* rows,
                 T* across = nullptr) {
  const int64_t all = Features<T>::columns(n);
  for (int64_t j = 0; j < all; ++j) {
    T* to = rows + j * s.wide;
    std::fill_n(to, s.wide, T(0));
    if (j >= n) continue;
    for (int64_t i = 0; i < s.width; ++i) to[i] = v.at(begin + j, i);
    to[s.width] = T(1);
  }
  if (!across) return;
  for (int64_t i = 0; i <= s.width; ++i)
    for (int64_t j = 0; j < all; ++j) across[i * kTile + j] = rows[j * s.wide + i];
}

// The running state of a head: g (m) and U' (m, wide).
template <class T>
struct Sums {
  T *g = nullptr, *u = nullptr;

  void clear(const Sizes& s) const {
    std::fill_n(g, s.features, s.trig ? T(0) : kLowest<T>);
    std::fill_n(u, s.features * s.wide, T(0));
  }
  void copy(const Sizes& s, const Sums& from) const {
    std::copy_n(from.g, s.features, g);
    std::copy_n(from.u, s.features * s.wide, u);
  }
  // Raises g to at least `peak`: U' keeps its meaning.
  void raise(const Sizes& s, const T* peak) const {
    for (int64_t f = 0; f < s.features; ++f) {
      if (!(peak[f] > g[f])) continue;
      const T factor = power_of_two(g[f] - peak[f]);
      for (int64_t i = 0; i <= s.width; ++i) u[f * s.wide + i] *= factor;
      g[f] = peak[f];
    }
  }
  // The sums of other keys as well.
  void join(const Sizes& s, const Sums& other) const {
    raise(s, other.g);
    for (int64_t f = 0; f < s.features; ++f) {
      const T factor = power_of_two(other.g[f] - g[f]);
      for (int64_t i = 0; i <= s.width; ++i) u[f * s.wide + i] += factor * other.u[f * s.wide + i];
    }
  }

  // In a tensor: (features, d + 2), each row U' and then g.
  void store(const Sizes& s, T* to) const {
    for (int64_t f = 0; f < s.features; ++f) {
      std::copy_n(u + f * s.wide, s.width + 1, to + f * (s.width + 2));
      to[f * (s.width + 2) + s.width + 1] = g[f];
    }
  }
  void load(const Sizes& s, const T* from) const {
    for (int64_t f = 0; f < s.features; ++f) {
      std::fill_n(u + f * s.wide, s.wide, T(0));
      std::copy_n(from + f * (s.width + 2), s.width + 1, u + f * s.wide);
      g[f] = from[f * (s.width + 2) + s.width + 1];
    }
  }
};

}  // namespace attn::performer
