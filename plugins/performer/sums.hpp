// SPDX-License-Identifier: Apache-2.0
//
// The running sums over keys. Of each feature f they keep a whole number g_f, the largest exponent
// among the keys so far, and U'_f = sum_j 2^(c_fj - g_f) [v_j, 1]: the sum of the values and, in column
// d, of the weights. Logarithms are to base 2. Because g is whole, another g changes exponents and no
// other bit (kernels.hpp). [any-thread]
#pragma once

#include "run.hpp"

namespace attn::performer {

// The sums of one head: g (m) and U' (m, wide).
template <class T>
struct Sums {
  T *g = nullptr, *u = nullptr;

  [[nodiscard]] static int64_t size(const Sizes& s) { return s.features * (s.wide + 1); }

  void clear(const Sizes& s) const {
    std::fill_n(g, s.features, s.trig ? T(0) : kLowest<T>);
    std::fill_n(u, s.features * s.wide, T(0));
  }
  void copy(const Sizes& s, const Sums& from) const {
    std::copy_n(from.g, s.features, g);
    std::copy_n(from.u, s.features * s.wide, u);
  }
  // Raises g to at least `peak`; U' is scaled to the new g.
  void raise(const Sizes& s, const T* peak) const {
    for (int64_t f = 0; f < s.features; ++f) {
      if (!(peak[f] > g[f])) continue;
      const T factor = power_of_two(g[f] - peak[f]);
      for (int64_t i = 0; i <= s.width; ++i) u[f * s.wide + i] *= factor;
      g[f] = peak[f];
    }
  }
  // Lowers g to at most `to`: for sums of 2^g times something.
  void lower(const Sizes& s, const T* to) const {
    for (int64_t f = 0; f < s.features; ++f) {
      if (to[f] < g[f]) {
        const T factor = power_of_two(to[f] - g[f]);
        for (int64_t i = 0; i <= s.width; ++i) u[f * s.wide + i] *= factor;
      }
      g[f] = to[f];
    }
  }
  // Adds the sums over other keys.
  void add(const Sizes& s, const Sums& other) const {
    raise(s, other.g);
    for (int64_t f = 0; f < s.features; ++f) {
      const T factor = power_of_two(other.g[f] - g[f]);
      for (int64_t i = 0; i <= s.width; ++i) u[f * s.wide + i] += factor * other.u[f * s.wide + i];
    }
  }

  // As head i of a tensor (B, H, features, d + 2): rows of U', then g.
  void store(const Sizes& s, int64_t i, T* tensor) const {
    T* to = tensor + i * s.features * (s.width + 2);
    for (int64_t f = 0; f < s.features; ++f, to += s.width + 2) {
      std::copy_n(u + f * s.wide, s.width + 1, to);
      to[s.width + 1] = g[f];
    }
  }
  void load(const Sizes& s, int64_t i, const T* tensor) const {
    const T* from = tensor + i * s.features * (s.width + 2);
    for (int64_t f = 0; f < s.features; ++f, from += s.width + 2) {
      std::fill_n(u + f * s.wide, s.wide, T(0));
      std::copy_n(from, s.width + 1, u + f * s.wide);
      g[f] = from[s.width + 1];
    }
  }
};

// Memory for n sums, until the operator returns.
template <class T>
class SumsArray {
 public:
  SumsArray(const sdk::OpCall& c, const Sizes& s, int64_t n)
      : step_(Sums<T>::size(s)),
        features_(s.features),
        memory_(c.scratch_array<T>(static_cast<size_t>(step_ * n) + 1)) {}
  [[nodiscard]] Sums<T> operator[](int64_t i) const {
    return {memory_ + i * step_, memory_ + i * step_ + features_};
  }

 private:
  int64_t step_, features_;
  T* memory_;
};

}  // namespace attn::performer
