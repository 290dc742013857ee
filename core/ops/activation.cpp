// SPDX-License-Identifier: Apache-2.0
//
// All activations behind one operator: element by element (core/kernels/activation_formulas.hpp), with weights
// that broadcast (differentiable_step: (tanh(slope (x - shift)) + 1) / 2), over an axis
// (activation_axis.hpp). Attributes and weights are laid out in core/kinds/kinds.hpp.
#include <cmath>

#include "core/kernels/reference/activation.hpp"
#include "core/kernels/table.hpp"
#include "core/ops/activation_axis.hpp"
#include "core/ops/check.hpp"
#include "core/ops/ops.hpp"
#include "core/ops/reduce.hpp"

namespace attn::ops {
namespace {

constexpr int kX = 0, kW0 = 1, kW1 = 2;  // inputs

ActivationKind kind(const OpCall& c) { return static_cast<ActivationKind>(c.integer(0)); }
bool has_alpha(ActivationKind k) {
  return k == ActivationKind::xatlu || k == ActivationKind::xgelu || k == ActivationKind::xsilu;
}
bool is_step(ActivationKind k) { return k == ActivationKind::differentiable_step; }

// How many constants a kind has.
size_t constants_of(ActivationKind k) {
  switch (k) {
    case ActivationKind::relu:
    case ActivationKind::golu:
      return 3;
    case ActivationKind::saturated_mish:
      return 2;
    case ActivationKind::relu_k:
    case ActivationKind::threshmax:
    case ActivationKind::squash:
      return 1;
    case ActivationKind::adaptive:
    case ActivationKind::adaptive_paper:
      return 5;  // and more of the polynomial
    default:
      return 0;
  }
}

template <class T>
kernels::ActivationArgs element_args(const OpCall& c) {
  kernels::ActivationArgs a;
  a.kind = kind(c);
  const auto p = c.reals(1);
  for (size_t i = 0; i < p.size() && i < 3; ++i) a.p[i] = p[i];
  if (has_alpha(a.kind)) a.alpha = static_cast<double>(*data<T>(*c.in(kW0)));
  return a;
}

// An axis as the bit mask of Rows.
uint32_t axis(const OpCall& c) { return 1u << check_axis(c.integer(2), c.in(kX)->rank); }

template <class T>
AxisRow<T> axis_row(const OpCall& c) {
  const double slope = c.in(kW0) ? static_cast<double>(*data<T>(*c.in(kW0))) : 0;
  return AxisRow<T>(kind(c), c.reals(1), slope);
}

// ---- element by element ------------------------------------------------------------------------

template <class T>
const T* gather(const T* x, int64_t step, int64_t n, T* buffer) {
  if (step == 1) return x;
  for (int64_t i = 0; i < n; ++i) buffer[i] = x[i * step];
  return buffer;
}

template <class T>
void element_forward(const OpCall& c) {
  const attn_view &x = *c.in(kX), &y = *c.out(0);
  const kernels::ActivationArgs args = element_args<T>(c);
  const bool fast = use_kernels<T>();
  Grid<2>::of({&y, &x}).run(
      parallel(c), kElementGrain, [&](auto o, int64_t n, auto s, int64_t, int) {
        const T* in = data<T>(x) + o[1];
        T* out = data<T>(y) + o[0];
        if (s[0] != 1 || s[1] != 1) {
          for (int64_t i = 0; i < n; ++i)
            kernels::reference::activation(args, 1, in + i * s[1], out + i * s[0]);
          return;
        }
        if constexpr (sizeof(T) == sizeof(float)) {
          if (fast) {
            kernels::table().activation(args, n, in, out);
            return;
          }
        }
        kernels::reference::activation(args, n, in, out);
      });
}

template <class T>
void element_vjp(const OpCall& c) {
  constexpr int64_t kPiece = 2048;
  const attn_view &x = *c.in(kX), &dy = *c.dout(0);
  const kernels::ActivationArgs args = element_args<T>(c);
  const bool fast = use_kernels<T>();
  if (c.din(kX)) {
    const attn_view& dx = *c.din(kX);
    Grid<3>::of({&dx, &dy, &x})
        .run(parallel(c), kPiece, [&](auto o, int64_t n, auto s, int64_t, int) {
          T x_buffer[kPiece], g_buffer[kPiece], out[kPiece];
          const T* in = gather(data<T>(x) + o[2], s[2], n, x_buffer);
          const T* g = gather(data<T>(dy) + o[1], s[1], n, g_buffer);
          bool done = false;
          if constexpr (sizeof(T) == sizeof(float)) {
            if (fast) kernels::table().activation_vjp(args, n, in, g, out);
            done = fast;
          }
          if (!done) kernels::reference::activation_vjp(args, n, in, g, out);
          T* to = data<T>(dx) + o[0];
          for_line(n, std::array<int64_t, 2>{s[0], 1},
                   [&](int64_t i, int64_t j) { to[i] += out[j]; });
        });
  }
  if (has_alpha(args.kind) && c.din(kW0)) {
    const Grid<2> g = Grid<2>::of({&dy, &x});
    const double* sum = chunked_sums(
        parallel(c), g.size(), 1, 1, [&](int64_t begin, int64_t end, double* total, int) {
          for (int64_t i = begin; i < end; ++i) {
            const auto o = g.offsets(i);
            *total += static_cast<double>(
                data<T>(dy)[o[0]] * kernels::reference::alpha_slope(args.kind, data<T>(x)[o[1]]));
          }
        });
    add_to<T>(*c.din(kW0), sum);
  }
}

// ---- differentiable_step -----------------------------------------------------------------------

// A weight broadcast to x; one that counts a single element whatever its rank fits everywhere.
attn_view step_weight(const OpCall& c, int n) {
  attn_view w = *c.in(n);
  if (size_of(w) == 1) w.rank = 0;
  return broadcast_to(w, *c.in(kX));
}

template <class T>
void step_forward(const OpCall& c) {
  const attn_view &x = *c.in(kX), &y = *c.out(0);
  const attn_view slope = step_weight(c, kW0), shift = step_weight(c, kW1);
  Grid<4>::of({&y, &x, &slope, &shift})
      .run(parallel(c), kElementGrain, [&](auto o, int64_t n, auto s, int64_t, int) {
        for (int64_t i = 0; i < n; ++i) {
          const T u = data<T>(slope)[o[2] + i * s[2]] *
                      (data<T>(x)[o[1] + i * s[1]] - data<T>(shift)[o[3] + i * s[3]]);
          data<T>(y)[o[0] + i * s[0]] = (std::tanh(u) + 1) / 2;
        }
      });
}

// With h = dy (1 - t^2) / 2: dx = h slope, dslope = h (x - shift), dshift = -dx.
template <class T>
void step_vjp(const OpCall& c) {
  const attn_view &x = *c.in(kX), &dy = *c.dout(0);
  const attn_view slope = step_weight(c, kW0), shift = step_weight(c, kW1);
  const auto scratch = [&] {
    return dense_like(x, parallel(c).scratch_array<T>(static_cast<size_t>(size_of(x)) + 1));
  };
  const attn_view dx = scratch(), dslope = scratch();
  Grid<4> grid;
  for (int a = 0; a < x.rank; ++a)
    grid.push(x.shape[a], {dx.stride[a], x.stride[a], slope.stride[a], shift.stride[a]});
  const Grid<2> gradient = Grid<2>::of({&dx, &dy});
  gradient.run(parallel(c), kElementGrain, [&](auto o, int64_t n, auto s, int64_t, int) {
    for (int64_t i = 0; i < n; ++i) data<T>(dx)[o[0] + i * s[0]] = data<T>(dy)[o[1] + i * s[1]];
  });
  grid.run(parallel(c), kElementGrain, [&](auto o, int64_t n, auto s, int64_t, int) {
    for (int64_t i = 0; i < n; ++i) {
      const T k = data<T>(slope)[o[2] + i * s[2]];
      const T d = data<T>(x)[o[1] + i * s[1]] - data<T>(shift)[o[3] + i * s[3]];
      const T t = std::tanh(k * d);
      T& g = data<T>(dx)[o[0] + i * s[0]];
      const T h = g * (1 - t) * (1 + t) / 2;
      data<T>(dslope)[o[0] + i * s[0]] = h * d;
      g = h * k;
    }
  });
  Parallel& p = parallel(c);
  if (c.din(kX)) add_broadcast_gradient<T>(p, dx, *c.din(kX), 1);
  const auto add = [&](int n, const attn_view& from, double factor) {
    if (!c.din(n)) return;
    attn_view to = *c.din(n);
    if (size_of(to) == 1) to.rank = 0;
    add_broadcast_gradient<T>(p, from, to, factor);
  };
  add(kW0, dslope, 1);
  add(kW1, dx, -1);
}

// ---- over an axis ------------------------------------------------------------------------------

template <class T>
void axis_forward(const OpCall& c) {
  const attn_view &x = *c.in(kX), &y = *c.out(0);
  const AxisRow<T> row = axis_row<T>(c);
  const Rows<2> rows({&x, &y}, axis(c));
  if (rows.length() == 0) return;
  const Buffers<T> buffers(parallel(c), rows.length(), 2);
  rows.each(parallel(c), [&](auto o, int64_t, int worker) {
    const T* in = rows.inner(0).read(data<T>(x) + o[0], buffers.get(worker));
    T* out = rows.inner(1).target(data<T>(y) + o[1], buffers.get(worker, 1));
    row.forward(rows.length(), in, out);
    rows.inner(1).write(data<T>(y) + o[1], out);
  });
}

template <class T>
void axis_vjp(const OpCall& c) {
  const attn_view &x = *c.in(kX), &dy = *c.dout(0);
  const AxisRow<T> row = axis_row<T>(c);
  const Rows<3> rows({&x, &dy, c.din(kX)}, axis(c));
  const int64_t n = rows.length();
  if (n == 0) return;
  const Buffers<T> buffers(parallel(c), n, 6);
  const double* slope = chunked_sums(
      parallel(c), rows.count(), n, 1, [&](int64_t begin, int64_t end, double* sum, int worker) {
        rows.each_of(begin, end, [&](auto o, int64_t) {
          const T* in = rows.inner(0).read(data<T>(x) + o[0], buffers.get(worker));
          const T* g = rows.inner(1).read(data<T>(dy) + o[1], buffers.get(worker, 1));
          T* dx = buffers.get(worker, 2);
          *sum += row.backward(n, in, g, dx, buffers.get(worker, 3));
          if (c.din(kX)) rows.inner(2).add(data<T>(*c.din(kX)) + o[2], dx);
        });
      });
  if (c.din(kW0)) add_to<T>(*c.din(kW0), slope);
}

struct activation {
  static constexpr const char* name = "activation";
  static constexpr const char* doc = "an activation chosen by number; see ActivationKind";
  static constexpr uint32_t version = 1, inputs = 3, outputs = 1, required = 1;
  static constexpr attn_param attributes[] = {
      int_attribute("kind", 0), reals_attribute("constants"), int_attribute("axis", -1)};

  static void shape(OpCall c) {
    check_number(c, kX, "x");
    const attn_view& x = *c.in(kX);
    if (c.integer(0) < 0 || c.integer(0) > static_cast<int64_t>(ActivationKind::adaptive_paper))
      fail("activation number {} is not known", c.integer(0));
    const ActivationKind k = kind(c);
    if (c.reals(1).size() < constants_of(k))
      fail("{} constants are given; this activation has {}", c.reals(1).size(), constants_of(k));
    if (k == ActivationKind::adaptive || k == ActivationKind::adaptive_paper)
      check_polynomial(c.reals(1).subspan(4));
    if (k == ActivationKind::relu_k && !(c.reals(1)[0] >= 1 && c.reals(1)[0] <= 1e6))
      fail("k is {}; expected 1 to 1e6", c.reals(1)[0]);
    if (!is_elementwise(k)) {
      if (x.rank < 1) fail("x is a scalar; this activation runs along an axis");
      (void)axis(c);
    }
    const bool scalar_weight = has_alpha(k) || k == ActivationKind::threshmax;
    check_weight(c, kW0, scalar_weight || is_step(k), scalar_weight);
    check_weight(c, kW1, is_step(k), false);
    c.out_like(0, x);
  }
  template <class T>
  static void forward(OpCall c) {
    if (is_step(kind(c)))
      step_forward<T>(c);
    else if (is_elementwise(kind(c)))
      element_forward<T>(c);
    else
      axis_forward<T>(c);
  }
  template <class T>
  static void vjp(OpCall c) {
    if (!c.dout(0)) return;
    if (is_step(kind(c)))
      step_vjp<T>(c);
    else if (is_elementwise(kind(c)))
      element_vjp<T>(c);
    else
      axis_vjp<T>(c);
  }
  static attn_cost cost(OpCall c) {
    const auto n = static_cast<double>(size_of(*c.in(kX)));
    return {sizeof(attn_cost), 0, 10 * n, 2 * n * c.element_size()};
  }

 private:
  static void check_weight(const OpCall& c, int n, bool wanted, bool scalar) {
    const int number = n - kW0;
    const attn_view* w = c.in(n);
    if (!w && wanted) fail("weight {} is missing; this activation needs it", number);
    if (!w) return;
    if (!wanted) fail("weight {} is given; this activation has none", number);
    check_number(c, n, n == kW0 ? "weight 0" : "weight 1");
    if (size_of(*w) == 1) return;
    const attn_view& x = *c.in(kX);
    bool fits = !scalar && w->rank <= x.rank;
    for (int a = 0; a < w->rank && fits; ++a) {
      const int64_t extent = x.shape[a + x.rank - w->rank];
      fits = w->shape[a] == 1 || w->shape[a] == extent;
    }
    if (!fits)
      fail("weight {} has shape {}; expected {} for x {}", number, shape_text(*w),
           scalar ? "one element" : "a shape that broadcasts", shape_text(x));
  }
};

}  // namespace

const attn_op& op_activation() { return operator_table<activation>; }

}  // namespace attn::ops
