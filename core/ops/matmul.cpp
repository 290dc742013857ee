// SPDX-License-Identifier: Apache-2.0
//
// Products of many matrices: alpha * op(a) x op(b), leading axes broadcast.
#include "core/kernels/gemm.hpp"
#include "core/kernels/reference/gemm.hpp"
#include "core/ops/check.hpp"
#include "core/ops/ops.hpp"
#include "core/ops/reduce.hpp"

namespace attn::ops {
namespace {

// A matrix of each batch element: (rows, columns) with strides, transposed as asked for.
struct Operand {
  attn_view v;
  int64_t rows, columns, row, column;

  Operand(const attn_view& view, bool transposed) : v(view) {
    const int r = v.rank - (transposed ? 1 : 2), c = v.rank - (transposed ? 2 : 1);
    rows = v.shape[r], columns = v.shape[c], row = v.stride[r], column = v.stride[c];
  }
  [[nodiscard]] Operand flipped() const {
    Operand o = *this;
    std::swap(o.rows, o.columns);
    std::swap(o.row, o.column);
    return o;
  }
};

// The leading axes as a view, broadcast to the batch of the result.
attn_view batch_of(const attn_view& v, int rank, const int64_t* shape) {
  attn_view b = v;
  b.rank = v.rank - 2;
  return broadcast_to(b, rank, shape);
}

// c (+)= alpha a b for every element of the batch; c has contiguous rows.
template <class T>
void products(const OpCall& call, int rank, const int64_t* shape, const Operand& a,
              const Operand& b, const attn_view& c, int64_t c_row, double alpha, bool accumulate) {
  const attn_view av = batch_of(a.v, rank, shape), bv = batch_of(b.v, rank, shape),
                  cv = batch_of(c, rank, shape);
  const Grid<3> g = Grid<3>::of({&cv, &av, &bv});
  Parallel& p = parallel(call);
  const int64_t m = a.rows, n = b.columns, k = a.columns;
  if (m == 0 || n == 0) return;
  if constexpr (sizeof(T) == sizeof(float)) {
    if (use_kernels<T>()) {
      const auto s = g.strides();
      for (int64_t first = 0; first < g.size(); first += g.line()) {
        const auto o = g.offsets(first);
        kernels::gemm({.m = m,
                       .n = n,
                       .k = k,
                       .a = data<float>(a.v) + o[1],
                       .a_row = a.row,
                       .a_col = a.column,
                       .b = data<float>(b.v) + o[2],
                       .b_row = b.row,
                       .b_col = b.column,
                       .c = data<float>(c) + o[0],
                       .c_row = c_row,
                       .alpha = static_cast<float>(alpha),
                       .accumulate = accumulate,
                       .batch = g.line(),
                       .a_batch = s[1],
                       .b_batch = s[2],
                       .c_batch = s[0]},
                      p);
      }
      return;
    }
  }
  p.loop(g.size(), 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) {
      const auto o = g.offsets(i);
      kernels::reference::gemm<T>(m, n, k, static_cast<T>(alpha), data<const T>(a.v) + o[1], a.row,
                                  a.column, data<const T>(b.v) + o[2], b.row, b.column,
                                  data<T>(c) + o[0], c_row, accumulate);
    }
  });
}

struct matmul {
  static constexpr const char* name = "matmul";
  static constexpr const char* doc =
      "alpha * a x b, (..., m, k) x (..., k, n), leading axes broadcast";
  static constexpr uint32_t version = 1, inputs = 2, outputs = 1;
  static constexpr attn_param attributes[] = {bool_attribute("transpose_a", false),
                                              bool_attribute("transpose_b", false),
                                              real_attribute("alpha", 1.0)};

  static void shape(OpCall c) {
    check_number(c, 0, "a");
    check_number(c, 1, "b");
    const attn_view &a = *c.in(0), &b = *c.in(1);
    if (a.rank < 2 || b.rank < 2)
      fail("shapes %s and %s; expected at least two axes each", shape_text(a).c_str(),
           shape_text(b).c_str());
    const Operand x(a, c.flag(0)), y(b, c.flag(1));
    if (x.columns != y.rows)
      fail("a sums over %lld elements, b over %lld; expected as many",
           static_cast<long long>(x.columns), static_cast<long long>(y.rows));
    int64_t out[ATTN_MAX_RANK];
    const int rank = batch_shape(a, b, out);
    if (rank + 2 > ATTN_MAX_RANK) fail("the result would have more than %d axes", ATTN_MAX_RANK);
    out[rank] = x.rows;
    out[rank + 1] = y.columns;
    c.out_shape(0, a.dtype, {out, static_cast<size_t>(rank) + 2});
  }

  template <class T>
  static void forward(OpCall c) {
    const attn_view& out = *c.out(0);
    products<T>(c, out.rank - 2, out.shape, Operand(*c.in(0), c.flag(0)),
                Operand(*c.in(1), c.flag(1)), out, out.stride[out.rank - 2], c.real(2), false);
  }

  template <class T>
  static void vjp(OpCall c) {
    const Operand a(*c.in(0), c.flag(0)), b(*c.in(1), c.flag(1)), g(*c.dout(0), false);
    // dA = dC B^T, dB = A^T dC; of a transposed operand the transpose of that.
    if (c.din(0))
      c.flag(0) ? gradient<T>(c, b, g.flipped(), *c.din(0))
                : gradient<T>(c, g, b.flipped(), *c.din(0));
    if (c.din(1))
      c.flag(1) ? gradient<T>(c, g.flipped(), a, *c.din(1))
                : gradient<T>(c, a.flipped(), g, *c.din(1));
  }

  static attn_cost cost(OpCall c) {
    const attn_view& out = *c.out(0);
    const double k = static_cast<double>(Operand(*c.in(0), c.flag(0)).columns);
    const auto n = static_cast<double>(size_of(out));
    return {sizeof(attn_cost), 0, 2 * n * k,
            (n + static_cast<double>(size_of(*c.in(0)) + size_of(*c.in(1)))) *
                (c.dtype() == ATTN_F64 ? 8 : 4)};
  }

 private:
  static int batch_shape(const attn_view& a, const attn_view& b, int64_t* out) {
    attn_view x = a, y = b;
    x.rank -= 2;
    y.rank -= 2;
    return broadcast_shape(x, y, out);
  }

  // din += alpha x y over the whole batch, summed where din was broadcast.
  template <class T>
  static void gradient(const OpCall& c, const Operand& x, const Operand& y, const attn_view& din) {
    const attn_view& out = *c.dout(0);
    const int rank = out.rank - 2;
    attn_view full = out;
    full.shape[rank] = x.rows;
    full.shape[rank + 1] = y.columns;
    const bool direct = size_of(full) == size_of(din) &&
                        (din.stride[din.rank - 1] == 1 || din.shape[din.rank - 1] == 1);
    if (direct) {
      products<T>(c, rank, out.shape, x, y, din, din.stride[din.rank - 2], c.real(2), true);
      return;
    }
    full = dense_like(full, parallel(c).scratch_array<T>(static_cast<size_t>(size_of(full)) + 1));
    products<T>(c, rank, out.shape, x, y, full, full.stride[rank], c.real(2), false);
    add_broadcast_gradient<T>(parallel(c), full, din, 1);
  }
};

}  // namespace

const attn_op& op_matmul() { return operator_table<matmul>; }

}  // namespace attn::ops
