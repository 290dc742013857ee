// SPDX-License-Identifier: Apache-2.0
//
// Routing between tokens without the matrix of scores. The votes of one head are A[i,:] = alpha q_i K^T, so every
// capsule is alpha a K^T for some a of the head's size: |alpha a K^T|^2 = a M a^T with M = alpha^2 K^T K. What stays
// is a small step over (batch, head, position, size), any strides, float32 and float64; threads over rows, results
// independent of their number.
//
// Sabour, Frosst, Hinton 2017, procedure 1, with one output capsule for each position (Duan et al. 2019).
#pragma once

#include <attn/sdk/plugin.hpp>
#include <attn/sdk/strided.hpp>

#include <algorithm>
#include <cmath>

namespace capsule {

using namespace attn::sdk;

// Products with M are taken 2^-60 times as large, and counted so: |alpha a K^T|^2 of numbers of 1e15 would leave the
// range of float, where a power of two changes no digit.
constexpr double kPart = 0x1p-60;

// squash(s) = factor * s: n2 / ((1 + n2) sqrt(n2 + eps)), n2 = |s|^2 (eq. 1).
inline double squash_factor(double n2, double eps) { return n2 / ((1 + n2) * std::sqrt(n2 + eps)); }
// Its derivative by n2.
inline double squash_slope(double n2, double eps) {
  const double root = std::sqrt(n2 + eps);
  return 1 / ((1 + n2) * (1 + n2) * root) - n2 / (2 * (1 + n2) * (n2 + eps) * root);
}

// base + g x with the squash factor g of n2 = a . a M; am = kPart a M. x is a M (what the next round's agreements add
// up), or a in the last round, where row 0 becomes 2 base: the first position keeps its own scores, which count twice.
struct squash {
  static constexpr const char* name = "capsule_routing.squash";
  static constexpr const char* doc = "base plus squashed a, or squashed am: one round of routing";
  static constexpr uint32_t version = 1, inputs = 3, outputs = 1, required = 0b011;
  static constexpr attn_param attributes[] = {real_attribute("epsilon", 1e-8),
                                              bool_attribute("last", false)};

  static void shape(OpCall c) {
    const attn_view& a = *c.in(0);
    for (int i = 0; i < 3; ++i) {
      const attn_view* v = c.in(i);
      if (v && (v->rank != 4 || !std::equal(v->shape, v->shape + 4, a.shape)))
        fail("a and {} have shapes {} and {}; expected (batch, head, position, size) for both",
             i == 1 ? "am" : "base", shape_text(a), shape_text(*v));
    }
    c.out_shape(0, a.dtype, {a.shape[0], a.shape[1], a.shape[2], a.shape[3]}, {0, 2, 1, 3});
  }
  template <class T>
  static void forward(OpCall c) {
    const bool last = c.flag(1);
    const double eps = c.real(0);
    const StridedRows<4> rows({c.out(0), c.in(0), c.in(1), c.in(2)});
    rows.run(c, [&](const auto& at, int64_t r) {
      const Line<T> y = rows.line<T>(0, at), a = rows.line<T>(1, at), am = rows.line<T>(2, at),
                    base = rows.line<T>(3, at);
      const bool raw = last && r % c.in(0)->shape[2] == 0;
      const double n2 = dot(rows.length(), a, am) / kPart;
      const T g = raw ? T(0) : static_cast<T>(squash_factor(n2 < 0 ? 0 : n2, eps) / unit(c));
      const Line<T> x = last ? a : am;
      for (int64_t j = 0; j < rows.length(); ++j) {
        const T b = base.data ? base[j] : T(0);
        y[j] = raw ? 2 * b : b + g * x[j];
      }
    });
  }
  template <class T>
  static void vjp(OpCall c) {
    if (!c.dout(0)) return;
    const bool last = c.flag(1);
    const double eps = c.real(0);
    const StridedRows<6> rows({c.dout(0), c.in(0), c.in(1), c.din(0), c.din(1), c.din(2)});
    rows.run(c, [&](const auto& at, int64_t r) {
      const Line<T> dy = rows.line<T>(0, at), a = rows.line<T>(1, at), am = rows.line<T>(2, at),
                    da = rows.line<T>(3, at), dam = rows.line<T>(4, at);
      const int64_t n = rows.length();
      const bool raw = last && r % c.in(0)->shape[2] == 0;
      add(n, rows.line<T>(5, at), raw ? T(2) : T(1), dy);
      if (raw) return;
      const double n2 = dot(n, a, am) / kPart;
      add(n, last ? da : dam, static_cast<T>(squash_factor(n2 < 0 ? 0 : n2, eps) / unit(c)), dy);
      if (n2 < 0) return;
      const T dn2 =
          static_cast<T>(dot(n, dy, last ? a : am) / unit(c) * squash_slope(n2, eps) / kPart);
      add(n, da, dn2, am);
      add(n, dam, dn2, a);
    });
  }
  static attn_cost cost(OpCall c) {
    const auto n = static_cast<double>(size_of(*c.in(0)));
    return {sizeof(attn_cost), 0, 4 * n, 4 * n * c.element_size()};
  }

 private:
  // How large x is taken.
  static double unit(const OpCall& c) { return c.flag(1) ? 1 : kPart; }
  template <class T>
  static double dot(int64_t n, Line<T> x, Line<T> y) {
    double sum = 0;
    for_line(
        n, [&](T a, T b) { sum += static_cast<double>(a) * static_cast<double>(b); }, x, y);
    return sum;
  }
  // y += factor x; y may be absent.
  template <class T>
  static void add(int64_t n, Line<T> y, T factor, Line<T> x) {
    if (y.data)
      for_line(
          n, [&](T& to, T from) { to += factor * from; }, y, x);
  }
};

}  // namespace capsule
