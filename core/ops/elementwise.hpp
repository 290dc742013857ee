// SPDX-License-Identifier: Apache-2.0
//
// Operators that work element by element: y = f(x), and y = f(a, b) with broadcasting.
//
//   struct div : Binary<div> {            // base: inputs, outputs, shape, forward, vjp, cost
//     static constexpr const char *name = "div", *doc = ...;
//     static constexpr auto kind = kernels::BinaryKind::div;  // the kernel for float, if there is one
//     template <class T> static T value(T a, T b);
//     template <class T> static T da(T a, T b);              // derivative by a
//     template <class T> static T db(T a, T b);
//   };
// A derivative that is an int is that number everywhere. Without da and db there is no vjp; a value that is a bool
// makes a bool tensor.
#pragma once

#include "core/kernels/elementwise.hpp"
#include "core/kernels/table.hpp"
#include "core/ops/check.hpp"
#include "core/ops/reduce.hpp"

namespace attn::ops {

template <class Op>
struct Unary {
  static constexpr uint32_t version = 1, inputs = 1, outputs = 1;

  static void shape(OpCall c) {
    check_number(c, 0, "x");
    c.out_like(0, *c.in(0));
  }
  template <class T>
  static void forward(OpCall c) {
    Grid<2>::of({c.out(0), c.in(0)})
        .run(parallel(c), kElementGrain, [&](auto o, int64_t n, auto s, int64_t, int) {
          T* y = data<T>(*c.out(0)) + o[0];
          const T* x = data<T>(*c.in(0)) + o[1];
          for_line(n, s, [=](int64_t i, int64_t j) { y[i] = Op::value(c, x[j]); });
        });
  }
  template <class T>
  static void vjp(OpCall c) {
    if (!c.din(0) || !c.dout(0)) return;
    Grid<3>::of({c.dout(0), c.in(0), c.din(0)})
        .run(parallel(c), kElementGrain, [&](auto o, int64_t n, auto s, int64_t, int) {
          const T* g = data<T>(*c.dout(0)) + o[0];
          const T* x = data<T>(*c.in(0)) + o[1];
          T* dx = data<T>(*c.din(0)) + o[2];
          for_line(n, s, [=](int64_t i, int64_t j, int64_t k) {
            dx[k] += g[i] * Op::derivative(c, x[j]);
          });
        });
  }
  static attn_cost cost(OpCall c) {
    const auto n = static_cast<double>(size_of(*c.in(0)));
    return {sizeof(attn_cost), 0, n, 2 * n * c.element_size()};
  }
};

// T or bool.
template <class Op, class T>
using Result = decltype(Op::value(T{}, T{}));

template <class Op>
struct Binary {
  static constexpr uint32_t version = 1, inputs = 2, outputs = 1;

  static void shape(OpCall c) {
    check_number(c, 0, "a");
    check_number(c, 1, "b");
    int64_t extents[ATTN_MAX_RANK];
    const int rank = broadcast_shape(*c.in(0), *c.in(1), extents);
    c.out_shape(0, std::is_same_v<Result<Op, float>, bool> ? ATTN_BOOL : c.dtype(),
                {extents, static_cast<size_t>(rank)});
  }
  template <class T>
  static void forward(OpCall c) {
    const attn_view& out = *c.out(0);
    const attn_view a = broadcast_to(*c.in(0), out), b = broadcast_to(*c.in(1), out);
    const auto fast = fast_line<T>();
    Grid<3>::of({&out, &a, &b})
        .run(parallel(c), kElementGrain, [&](auto o, int64_t n, auto s, int64_t, int) {
          line(fast, n, data<T>(a) + o[1], s[1], data<T>(b) + o[2], s[2],
               data<Result<Op, T>>(out) + o[0], s[0]);
        });
  }
  template <class T>
  static void vjp(OpCall c) requires requires(T x) {
    Op::da(x, x);
  }
  {
    if (!c.dout(0)) return;
    if (c.din(0)) accumulate<T>(c, *c.din(0), [](T a, T b) { return Op::da(a, b); });
    if (c.din(1)) accumulate<T>(c, *c.din(1), [](T a, T b) { return Op::db(a, b); });
  }
  static attn_cost cost(OpCall c) {
    const auto n = static_cast<double>(size_of(*c.out(0)));
    const double read = static_cast<double>(size_of(*c.in(0)) + size_of(*c.in(1)));
    return {sizeof(attn_cost), 0, n, (n + read) * c.element_size()};
  }

 protected:
  // The kernel for lines with steps of 0 and 1, or nullptr.
  template <class T>
  static auto fast_line() -> decltype(kernels::KernelTable::binary) {
    if constexpr (requires { Op::kind; })
      return use_kernels<T>() ? kernels::table().binary : nullptr;
    return nullptr;
  }
  template <class T, class Y, class Kernel>
  static void line(Kernel fast, int64_t n, const T* a, int64_t sa, const T* b, int64_t sb, Y* y,
                   int64_t sy) {
    if constexpr (sizeof(T) == sizeof(float) && requires { Op::kind; }) {
      if (fast && sy == 1 && (sa == 0 || sa == 1) && (sb == 0 || sb == 1)) {
        fast(Op::kind, n, a, sa, b, sb, y);
        return;
      }
    }
    for_line(n, std::array{sy, sa, sb},
             [=](int64_t i, int64_t j, int64_t k) { y[i] = Op::value(a[j], b[k]); });
  }

  // din += dout * derivative, summed where this side was broadcast.
  template <class T, class F>
  static void accumulate(OpCall c, const attn_view& din, F derivative) {
    Parallel& p = parallel(c);
    const attn_view& g = *c.dout(0);
    if constexpr (std::is_same_v<decltype(derivative(T{}, T{})), int>) {
      add_broadcast_gradient<T>(p, g, din, derivative(T{}, T{}));
    } else {
      const attn_view a = broadcast_to(*c.in(0), g), b = broadcast_to(*c.in(1), g);
      const bool whole = size_of(din) == size_of(g);
      const attn_view to =
          whole ? broadcast_to(din, g)
                : dense_like(g, p.scratch_array<T>(static_cast<size_t>(size_of(g)) + 1));
      Grid<4>::of({&to, &g, &a, &b})
          .run(p, kElementGrain, [&](auto o, int64_t n, auto s, int64_t, int) {
            T* y = data<T>(to) + o[0];
            const T* dy = data<T>(g) + o[1];
            const T* x = data<T>(a) + o[2];
            const T* z = data<T>(b) + o[3];
            for_line(n, s, [=](int64_t to_i, int64_t g_i, int64_t a_i, int64_t b_i) {
              const T v = dy[g_i] * derivative(x[a_i], z[b_i]);
              y[to_i] = whole ? y[to_i] + v : v;
            });
          });
      if (!whole) add_broadcast_gradient<T>(p, to, din, 1);
    }
  }
};

}  // namespace attn::ops
