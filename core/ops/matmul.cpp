// SPDX-License-Identifier: Apache-2.0
//
// alpha A B for matrices in the last two axes; the axes before them broadcast. Gradients of broadcast
// operands add up in a fixed order.
#include "core/kernels/gemm.hpp"
#include "core/ops/check.hpp"
#include "core/ops/ops.hpp"
#include "core/ops/reduce.hpp"

namespace attn::ops {
namespace {

constexpr int64_t kRows = 8;  // rows of a task

// The last two axes as a matrix, the others as a batch.
struct Stack {
  attn_view view;
  explicit Stack(const attn_view& v, bool transpose = false) : view(v) {
    if (!transpose) return;
    std::swap(view.shape[v.rank - 1], view.shape[v.rank - 2]);
    std::swap(view.stride[v.rank - 1], view.stride[v.rank - 2]);
  }
  [[nodiscard]] Stack transposed() const { return Stack(view, true); }
  [[nodiscard]] int64_t rows() const { return view.shape[view.rank - 2]; }
  [[nodiscard]] int64_t columns() const { return view.shape[view.rank - 1]; }
  [[nodiscard]] int64_t row() const { return view.stride[view.rank - 2]; }
  [[nodiscard]] int64_t column() const { return view.stride[view.rank - 1]; }
  // Stride along batch axis `axis` of `rank` of them; 0 where it broadcasts.
  [[nodiscard]] int64_t batch_stride(int axis, int rank) const {
    const int from = axis - (rank - (view.rank - 2));
    return from < 0 || view.shape[from] == 1 ? 0 : view.stride[from];
  }
};

// y = alpha a b for one line of the batch, or y += when `add`. Rows of y are contiguous.
template <class T>
void products(Parallel& p, int64_t count, const Stack& a, const T* pa, int64_t sa, const Stack& b,
              const T* pb, int64_t sb, const Stack& y, T* py, int64_t sy, double alpha, bool add) {
  kernels::gemm(
      kernels::GemmOf<T>{a.rows(), b.columns(), a.columns(), pa, a.row(), a.column(), pb, b.row(),
                         b.column(), py, y.row(), static_cast<T>(alpha), add, count, sa, sb, sy},
      p);
}

// y = alpha a b, or += for matrices of y that the batch repeats. `batch` has the extents.
template <class T>
void multiply(Parallel& p, const Stack& a, const Stack& b, const Stack& y, const attn_view& batch,
              double alpha, bool add) {
  Grid<3> grid;
  const int rank = batch.rank - 2;
  for (int axis = 0; axis < rank; ++axis)
    grid.push(batch.shape[axis],
              {y.batch_stride(axis, rank), a.batch_stride(axis, rank), b.batch_stride(axis, rank)});
  const int64_t line = grid.line();
  const auto s = grid.strides();
  for (int64_t first = 0; first < grid.size(); first += line) {
    const auto o = grid.offsets(first);
    T* py = data<T>(y.view) + o[0];
    const T* pa = data<T>(a.view) + o[1];
    const T* pb = data<T>(b.view) + o[2];
    if (line == 1 || s[0] != 0) {
      products<T>(p, line, a, pa, s[1], b, pb, s[2], y, py, s[0], alpha, add);
    } else {
      for (int64_t i = 0; i < line; ++i)
        products<T>(p, 1, a, pa + i * s[1], 0, b, pb + i * s[2], 0, y, py, 0, alpha, add);
    }
  }
}

// y = alpha a b without the terms whose factor in a is zero.
template <class T>
void multiply_sparse(Parallel& p, const Stack& a, const Stack& b, const Stack& y,
                     const attn_view& batch, double alpha) {
  Grid<3> grid;
  const int rank = batch.rank - 2;
  for (int axis = 0; axis < rank; ++axis)
    grid.push(batch.shape[axis],
              {y.batch_stride(axis, rank), a.batch_stride(axis, rank), b.batch_stride(axis, rank)});
  for (int64_t matrix = 0; matrix < grid.size(); ++matrix) {
    const auto o = grid.offsets(matrix);
    T* py = data<T>(y.view) + o[0];
    const T* pa = data<T>(a.view) + o[1];
    const T* pb = data<T>(b.view) + o[2];
    p.loop(a.rows(), kRows, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i)
        for (int64_t j = 0; j < b.columns(); ++j) {
          T sum = 0;
          for (int64_t k = 0; k < a.columns(); ++k) {
            const T factor = pa[i * a.row() + k * a.column()];
            if (factor != 0) sum += factor * pb[k * b.row() + j * b.column()];
          }
          py[i * y.row() + j * y.column()] = static_cast<T>(alpha) * sum;
        }
    });
  }
}

template <class T>
bool all_finite(const attn_view& v) {
  const auto grid = Grid<1>::of({&v});
  const int64_t line = grid.line(), step = grid.strides()[0];
  for (int64_t first = 0; first < grid.size(); first += line) {
    const T* x = data<T>(v) + grid.offsets(first)[0];
    T zero = 0;
    for (int64_t i = 0; i < line; ++i) zero += x[i * step] * T(0);
    if (zero != 0 || zero != zero) return false;
  }
  return true;
}

struct matmul {
  static constexpr const char* name = "matmul";
  static constexpr const char* doc =
      "alpha times the product of the matrices in the last two axes; leading axes broadcast";
  static constexpr uint32_t version = 1, inputs = 2, outputs = 1;
  static constexpr attn_param attributes[] = {bool_attribute("transpose_a", false),
                                              bool_attribute("transpose_b", false),
                                              real_attribute("alpha", 1.0),
                                              // Zero times NaN or infinity is zero: a holds
                                              // weights of rows that may be anything.
                                              bool_attribute("skip_zeros", false)};

  static void shape(OpCall c) {
    check_number(c, 0, "a");
    check_number(c, 1, "b");
    for (const int i : {0, 1})
      if (c.in(i)->rank < 2)
        fail("{} has shape {}; expected at least two axes", i ? "b" : "a", shape_text(*c.in(i)));
    const Stack a(*c.in(0), c.flag(0)), b(*c.in(1), c.flag(1));
    if (a.columns() != b.rows())
      fail("a sums over {} elements, b over {}; expected as many", a.columns(), b.rows());
    attn_view p = a.view, q = b.view;
    p.rank -= 2, q.rank -= 2;
    int64_t extents[ATTN_MAX_RANK];
    const int rank = broadcast_shape(p, q, extents);
    extents[rank] = a.rows();
    extents[rank + 1] = b.columns();
    c.out_shape(0, c.dtype(), {extents, static_cast<size_t>(rank) + 2});
  }
  template <class T>
  static void forward(OpCall c) {
    const Stack a(*c.in(0), c.flag(0)), b(*c.in(1), c.flag(1));
    const attn_view& out = *c.out(0);
    if (size_of(out) == 0) return;
    const Stack direct(out);
    if (c.flag(3) && !all_finite<T>(*c.in(1))) {
      multiply_sparse<T>(parallel(c), a, b, direct, out, c.real(2));
      return;
    }
    if (direct.column() == 1 || direct.columns() == 1) {
      multiply<T>(parallel(c), a, b, direct, out, c.real(2), false);
      return;
    }
    const attn_view dense = dense_like(out, scratch<T>(c, out));
    multiply<T>(parallel(c), a, b, Stack(dense), out, c.real(2), false);
    Grid<2>::of({&out, &dense})
        .run(parallel(c), kElementGrain, [&](auto o, int64_t n, auto s, int64_t, int) {
          for (int64_t i = 0; i < n; ++i)
            data<T>(out)[o[0] + i * s[0]] = data<T>(dense)[o[1] + i * s[1]];
        });
  }
  template <class T>
  static void vjp(OpCall c) {
    if (!c.dout(0) || size_of(*c.dout(0)) == 0) return;
    const Stack a(*c.in(0), c.flag(0)), b(*c.in(1), c.flag(1)), g(*c.dout(0));
    if (c.din(0)) gradient<T>(c, g, b.transposed(), Stack(*c.din(0), c.flag(0)));
    if (c.din(1)) gradient<T>(c, a.transposed(), g, Stack(*c.din(1), c.flag(1)));
  }
  static attn_cost cost(OpCall c) {
    const Stack a(*c.in(0), c.flag(0));
    const double element = c.element_size();
    const auto out = static_cast<double>(size_of(*c.out(0)));
    return {sizeof(attn_cost), 0, 2 * out * static_cast<double>(a.columns()),
            element * (out + static_cast<double>(size_of(*c.in(0)) + size_of(*c.in(1))))};
  }

 private:
  template <class T>
  static T* scratch(const OpCall& c, const attn_view& v) {
    return parallel(c).scratch_array<T>(static_cast<size_t>(size_of(v)) + 1);
  }
  // to += alpha left right, summed over the batch where `to` repeats.
  template <class T>
  static void gradient(const OpCall& c, const Stack& left, const Stack& right, const Stack& to) {
    if (size_of(to.view) == 0) return;
    const attn_view sum = dense_like(to.view, scratch<T>(c, to.view));
    std::fill_n(data<T>(sum), size_of(sum), T(0));
    multiply<T>(parallel(c), left, right, Stack(sum), *c.dout(0), c.real(2), true);
    add_broadcast_gradient<T>(parallel(c), sum, to.view, 1);
  }
};

}  // namespace

const attn_op& op_matmul() { return operator_table<matmul>; }

}  // namespace attn::ops
