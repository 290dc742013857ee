// SPDX-License-Identifier: Apache-2.0
//
// Routing between tokens without the matrix of scores. The votes of one head are A[i,:] = alpha q_i K^T, so every
// capsule is alpha a K^T for some a of the head's size: |alpha a K^T|^2 = a M a^T with M = alpha^2 K^T K. What stays
// are two small steps over (batch, head, position, size), any strides, float32 and float64; threads over rows,
// results independent of their number.
//
// Sabour, Frosst, Hinton 2017, procedure 1, with one output capsule for each position (Duan et al. 2019).
#pragma once

#include <attn/sdk/plugin.hpp>

#include <algorithm>
#include <cmath>

namespace capsule {

using namespace attn::sdk;

// Products with M are taken 2^-60 times as large, and counted so: |alpha a K^T|^2 of numbers of 1e15 would leave the range
// of float, where a power of two changes no digit.
constexpr double kPart = 0x1p-60;

// squash(s) = factor * s: n2 / ((1 + n2) sqrt(n2 + eps)), n2 = |s|^2 (eq. 1).
inline double squash_factor(double n2, double eps) { return n2 / ((1 + n2) * std::sqrt(n2 + eps)); }
// Its derivative by n2.
inline double squash_slope(double n2, double eps) {
  const double root = std::sqrt(n2 + eps);
  return 1 / ((1 + n2) * (1 + n2) * root) - n2 / (2 * (1 + n2) * (n2 + eps) * root);
}

// Rows of a tensor of rank 4, counted over its first three axes.
struct Rows {
  const attn_view& v;
  [[nodiscard]] int64_t count() const { return v.shape[0] * v.shape[1] * v.shape[2]; }
  template <class T>
  [[nodiscard]] T* at(int64_t r) const {
    const int64_t i = r % v.shape[2], h = r / v.shape[2] % v.shape[1],
                  b = r / v.shape[2] / v.shape[1];
    return data<T>(v) + b * v.stride[0] + h * v.stride[1] + i * v.stride[2];
  }
};

constexpr int64_t kGrain = 4096;  // elements of a task

inline int64_t rows_of_task(const attn_view& v) {
  return std::max<int64_t>(1, kGrain / std::max<int64_t>(v.shape[3], 1));
}

// y_l = (x_0 + ... + x_l) * factor, divided by l + 1 when averaged: the first round, where all tokens count alike.
struct prefix {
  static constexpr const char* name = "capsule_routing.prefix";
  static constexpr const char* doc = "sums or means of all positions up to each";
  static constexpr uint32_t version = 1, inputs = 1, outputs = 1;
  static constexpr attn_param attributes[] = {bool_attribute("average", true),
                                              real_attribute("factor", 1.0)};

  static void shape(OpCall c) {
    if (c.in(0)->rank != 4)
      fail("x has shape %s; expected (batch, head, position, size)", shape_text(*c.in(0)).c_str());
    const attn_view& x = *c.in(0);
    c.out_shape(0, x.dtype, {x.shape[0], x.shape[1], x.shape[2], x.shape[3]}, {0, 2, 1, 3});
  }
  template <class T>
  static void forward(OpCall c) {
    run<T>(c, *c.in(0), *c.out(0), false);
  }
  template <class T>
  static void vjp(OpCall c) {
    if (c.dout(0) && c.din(0)) run<T>(c, *c.dout(0), *c.din(0), true);
  }
  static attn_cost cost(OpCall c) {
    const auto n = static_cast<double>(size_of(*c.in(0)));
    return {sizeof(attn_cost), 0, 2 * n, 2 * n * (c.dtype() == ATTN_F64 ? 8 : 4)};
  }

 private:
  // Sums run in double. back: the transposed map, from the last position to the first, added to `to`.
  template <class T>
  static void run(const OpCall& c, const attn_view& from, const attn_view& to, bool back) {
    const int64_t length = from.shape[2], size = from.shape[3];
    const double factor = c.real(1);
    const bool average = c.flag(0);
    double* sums = c.scratch_array<double>(static_cast<size_t>(size * c.concurrency()) + 1);
    c.loop(from.shape[0] * from.shape[1], 1, [&](int64_t begin, int64_t end, int worker) {
      double* sum = sums + worker * size;
      for (int64_t n = begin; n < end; ++n) {
        std::fill_n(sum, size, 0.0);
        for (int64_t step = 0; step < length; ++step) {
          const int64_t l = back ? length - 1 - step : step;
          const T* x = Rows{from}.at<T>(n * length + l);
          T* y = Rows{to}.at<T>(n * length + l);
          const double w = average ? factor / static_cast<double>(l + 1) : factor;
          const int64_t sx = from.stride[3], sy = to.stride[3];
          for (int64_t j = 0; j < size; ++j) {
            if (back) {
              sum[j] += w * static_cast<double>(x[j * sx]);
              y[j * sy] += static_cast<T>(sum[j]);
            } else {
              sum[j] += static_cast<double>(x[j * sx]);
              y[j * sy] = static_cast<T>(w * sum[j]);
            }
          }
        }
      }
    });
  }
};

// base + g x with the squash factor g of n2 = a . a M; am = kPart a M. x is a M (what the next round's agreements add
// up), or a in the last round, where row 0 becomes 2 base: the first position keeps its own scores, which so count twice.
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
        fail("a and %s have shapes %s and %s; expected (batch, head, position, size) for both",
             i == 1 ? "am" : "base", shape_text(a).c_str(), shape_text(*v).c_str());
    }
    c.out_shape(0, a.dtype, {a.shape[0], a.shape[1], a.shape[2], a.shape[3]}, {0, 2, 1, 3});
  }
  template <class T>
  static void forward(OpCall c) {
    const attn_view &a = *c.in(0), &am = *c.in(1), &y = *c.out(0);
    const attn_view* base = c.in(2);
    const attn_view& x = c.flag(1) ? a : am;
    const double eps = c.real(0);
    const int64_t size = a.shape[3];
    c.loop(Rows{a}.count(), rows_of_task(a), [&](int64_t begin, int64_t end, int) {
      for (int64_t r = begin; r < end; ++r) {
        const T* pb = base ? Rows{*base}.at<T>(r) : nullptr;
        const T* px = Rows{x}.at<T>(r);
        T* py = Rows{y}.at<T>(r);
        const bool raw = c.flag(1) && r % a.shape[2] == 0;
        const double n2 = dot<T>(a, am, r) / kPart;
        const T g =
            raw ? T(0) : static_cast<T>(squash_factor(n2 < 0 ? 0 : n2, eps) / unit(c));
        for (int64_t j = 0; j < size; ++j) {
          const T b = pb ? pb[j * base->stride[3]] : T(0);
          py[j * y.stride[3]] = raw ? 2 * b : b + g * px[j * x.stride[3]];
        }
      }
    });
  }
  template <class T>
  static void vjp(OpCall c) {
    if (!c.dout(0)) return;
    const attn_view &a = *c.in(0), &am = *c.in(1), &dy = *c.dout(0);
    const attn_view *da = c.din(0), *dam = c.din(1), *dbase = c.din(2);
    const bool last = c.flag(1);
    const attn_view& x = last ? a : am;
    const attn_view* dx = last ? da : dam;
    const double eps = c.real(0);
    c.loop(Rows{a}.count(), rows_of_task(a), [&](int64_t begin, int64_t end, int) {
      for (int64_t r = begin; r < end; ++r) {
        const bool raw = last && r % a.shape[2] == 0;
        if (dbase) add(*dbase, dy, r, raw ? T(2) : T(1));
        if (raw) continue;
        const double n2 = dot<T>(a, am, r) / kPart;
        if (dx) add(*dx, dy, r, static_cast<T>(squash_factor(n2 < 0 ? 0 : n2, eps) / unit(c)));
        if (n2 < 0) continue;
        const T dn2 = static_cast<T>(dot<T>(dy, x, r) / unit(c) * squash_slope(n2, eps) / kPart);
        if (da) add(*da, am, r, dn2);
        if (dam) add(*dam, a, r, dn2);
      }
    });
  }
  static attn_cost cost(OpCall c) {
    const auto n = static_cast<double>(size_of(*c.in(0)));
    return {sizeof(attn_cost), 0, 4 * n, 4 * n * (c.dtype() == ATTN_F64 ? 8 : 4)};
  }

 private:
  // How large x is taken.
  static double unit(const OpCall& c) { return c.flag(1) ? 1 : kPart; }
  template <class T>
  static double dot(const attn_view& x, const attn_view& y, int64_t r) {
    const T *px = Rows{x}.at<T>(r), *py = Rows{y}.at<T>(r);
    double sum = 0;
    for (int64_t j = 0; j < x.shape[3]; ++j)
      sum += static_cast<double>(px[j * x.stride[3]]) * static_cast<double>(py[j * y.stride[3]]);
    return sum;
  }
  template <class T>
  static void add(const attn_view& to, const attn_view& from, int64_t r, T factor) {
    T* y = Rows{to}.at<T>(r);
    const T* x = Rows{from}.at<T>(r);
    for (int64_t j = 0; j < to.shape[3]; ++j) y[j * to.stride[3]] += factor * x[j * from.stride[3]];
  }
};

}  // namespace capsule
