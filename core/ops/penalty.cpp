// SPDX-License-Identifier: Apache-2.0
//
// What a regularizer charges a tensor for, divided by a number (the batch size for outputs).
//   l1_l2        l1 sum |x| + l2 sum x^2
//   orthogonal   factor / (m (m - 1)) times the sum of |u_i . u_j| over i != j, u_i the m rows (columns) of a
//                matrix divided by their length. A row of zeros, or a single row, is charged nothing.
#include <cmath>

#include "core/kinds/kinds.hpp"
#include "core/ops/check.hpp"
#include "core/ops/ops.hpp"
#include "core/ops/rows.hpp"

namespace attn::ops {
namespace {

template <class T>
T sign(T x) {
  return x > 0 ? T(1) : x < 0 ? T(-1) : x;  // 0 and NaN as they are
}

// A matrix of unit rows in scratch, row-major, and the lengths that they had.
template <class T>
struct UnitRows {
  int64_t m, n, row, col;  // of x as its rows are numbered here
  T* u;
  T* length;

  UnitRows(const OpCall& c, bool columns) {
    const attn_view& x = *c.in(0);
    m = x.shape[columns ? 1 : 0], n = x.shape[columns ? 0 : 1];
    row = x.stride[columns ? 1 : 0], col = x.stride[columns ? 0 : 1];
    u = parallel(c).scratch_array<T>(static_cast<size_t>(m * n) + 1);
    length = parallel(c).scratch_array<T>(static_cast<size_t>(m) + 1);
    for (int64_t i = 0; i < m; ++i) {
      double sum = 0;
      for (int64_t k = 0; k < n; ++k) {
        const T v = data<T>(x)[i * row + k * col];
        sum += static_cast<double>(v) * static_cast<double>(v);
      }
      length[i] = static_cast<T>(std::sqrt(sum));
      for (int64_t k = 0; k < n; ++k)
        u[i * n + k] = length[i] == 0 ? T(0) : data<T>(x)[i * row + k * col] / length[i];
    }
  }
  [[nodiscard]] double dot(int64_t i, int64_t j) const {
    double sum = 0;
    for (int64_t k = 0; k < n; ++k)
      sum += static_cast<double>(u[i * n + k]) * static_cast<double>(u[j * n + k]);
    return sum;
  }
};

struct penalty {
  static constexpr const char* name = "penalty";
  static constexpr const char* doc = "what a regularizer charges x for, divided by a number";
  static constexpr uint32_t version = 1, inputs = 1, outputs = 1;
  static constexpr attn_param attributes[] = {
      int_attribute("kind", 0), real_attribute("l1", 0.0), real_attribute("l2", 0.0),
      real_attribute("factor", 0.0), real_attribute("divide", 1.0)};

  static void shape(OpCall c) {
    check_number(c, 0, "x");
    const int64_t kind = c.integer(0);
    if (kind < 0 || kind > static_cast<int64_t>(RegularizerKind::orthogonal_columns))
      fail("regularizer number {} is not known", kind);
    if (orthogonal(c) && c.in(0)->rank != 2)
      fail("x has shape {}; the orthogonal regularizer expects a matrix", shape_text(*c.in(0)));
    if (c.real(4) == 0) fail("divide is 0; expected another number");
    c.out_shape(0, c.dtype(), {});
  }
  template <class T>
  static void forward(OpCall c) {
    double value = 0;
    if (orthogonal(c)) {
      const UnitRows<T> rows(c, by_columns(c));
      for (int64_t i = 0; i < rows.m; ++i)
        for (int64_t j = 0; j < i; ++j) value += 2 * std::abs(rows.dot(i, j));
      value *= pair_factor(c, rows.m);
    } else if (kind(c) == RegularizerKind::l1_l2) {
      const attn_view& x = *c.in(0);
      const Grid<1> g = Grid<1>::of({&x});
      const double* sums = chunked_sums(
          parallel(c), g.size(), 1, 2, [&](int64_t begin, int64_t end, double* s, int) {
            for (int64_t i = begin; i < end;) {
              const int64_t stop = std::min(end, (i / g.line() + 1) * g.line());
              const T* p = data<T>(x) + g.offsets(i)[0];
              for (; i < stop; ++i, p += g.strides()[0]) {
                s[0] += std::abs(static_cast<double>(*p));
                s[1] += static_cast<double>(*p) * static_cast<double>(*p);
              }
            }
          });
      value = c.real(1) * sums[0] + c.real(2) * sums[1];
    }
    *data<T>(*c.out(0)) = static_cast<T>(value / c.real(4));
  }
  template <class T>
  static void vjp(OpCall c) {
    if (!c.din(0) || !c.dout(0)) return;
    const attn_view &x = *c.in(0), &dx = *c.din(0);
    const double g = static_cast<double>(*data<T>(*c.dout(0))) / c.real(4);
    if (orthogonal(c)) {
      orthogonal_vjp<T>(c, g);
    } else if (kind(c) == RegularizerKind::l1_l2) {
      const T l1 = static_cast<T>(c.real(1) * g), l2 = static_cast<T>(2 * c.real(2) * g);
      Grid<2>::of({&dx, &x}).run(parallel(c), kElementGrain,
                                 [&](auto o, int64_t n, auto s, int64_t, int) {
                                   for (int64_t i = 0; i < n; ++i) {
                                     const T v = data<T>(x)[o[1] + i * s[1]];
                                     data<T>(dx)[o[0] + i * s[0]] += l1 * sign(v) + l2 * v;
                                   }
                                 });
    }
  }

 private:
  static RegularizerKind kind(const OpCall& c) {
    return static_cast<RegularizerKind>(c.integer(0));
  }
  static bool by_columns(const OpCall& c) { return kind(c) == RegularizerKind::orthogonal_columns; }
  static bool orthogonal(const OpCall& c) {
    return by_columns(c) || kind(c) == RegularizerKind::orthogonal_rows;
  }
  static double pair_factor(const OpCall& c, int64_t m) {
    return m > 1 ? c.real(3) / (static_cast<double>(m) * static_cast<double>(m - 1)) : 0;
  }
  // du_i = 2 f sum_j sign(u_i . u_j) u_j;  dx_i = (du_i - u_i (u_i . du_i)) / |x_i|
  template <class T>
  static void orthogonal_vjp(const OpCall& c, double g) {
    const UnitRows<T> rows(c, by_columns(c));
    const attn_view& dx = *c.din(0);
    const int64_t row = dx.stride[by_columns(c) ? 1 : 0], col = dx.stride[by_columns(c) ? 0 : 1];
    const double f = 2 * g * pair_factor(c, rows.m);
    double* du = parallel(c).scratch_array<double>(static_cast<size_t>(rows.n) + 1);
    for (int64_t i = 0; i < rows.m; ++i) {
      if (rows.length[i] == 0) continue;
      std::fill(du, du + rows.n, 0.0);
      for (int64_t j = 0; j < rows.m; ++j) {
        if (j == i) continue;
        const double s = f * sign(rows.dot(i, j));
        for (int64_t k = 0; k < rows.n; ++k)
          du[k] += s * static_cast<double>(rows.u[j * rows.n + k]);
      }
      const T* u = rows.u + i * rows.n;
      double along = 0;
      for (int64_t k = 0; k < rows.n; ++k) along += static_cast<double>(u[k]) * du[k];
      for (int64_t k = 0; k < rows.n; ++k)
        data<T>(dx)[i * row + k * col] += static_cast<T>(
            (du[k] - static_cast<double>(u[k]) * along) / static_cast<double>(rows.length[i]));
    }
  }
};

}  // namespace

const attn_op& op_penalty() { return operator_table<penalty>; }

}  // namespace attn::ops
