// SPDX-License-Identifier: Apache-2.0
//
// What the oracle does with its tensors, as slow as it is plain. Nothing here uses the library. Reductions keep their
// axes with extent 1; zip() broadcasts extents of 1 between tensors of the same rank.
#pragma once

#include "host/check/generator/tensor.hpp"

namespace attn::oracle {

using Extents = std::vector<int64_t>;
using check::demand;
using check::product;
using check::slice;
using check::Tensor;

inline double sum_of(const std::vector<double>& row) {
  double s = 0;
  for (const double x : row) s += x;
  return s;
}

template <class F>
Tensor map(Tensor x, F&& f) {
  for (double& e : x.v) e = f(e);
  return x;
}

// f of every pair of elements; extents of 1 are repeated.
template <class F>
Tensor zip(const Tensor& a, const Tensor& b, F&& f) {
  demand(a.rank() == b.rank(), "zip needs equal ranks");
  Extents shape = a.shape;
  for (size_t i = 0; i < shape.size(); ++i) {
    demand(a.shape[i] == b.shape[i] || a.shape[i] == 1 || b.shape[i] == 1, "zip: shapes differ");
    if (shape[i] == 1) shape[i] = b.shape[i];
  }
  Tensor out(shape);
  std::vector<int64_t> at(shape.size(), 0);
  for (double& element : out.v) {
    size_t ia = 0, ib = 0;
    for (size_t i = 0; i < shape.size(); ++i) {
      ia = ia * static_cast<size_t>(a.shape[i]) + static_cast<size_t>(a.shape[i] == 1 ? 0 : at[i]);
      ib = ib * static_cast<size_t>(b.shape[i]) + static_cast<size_t>(b.shape[i] == 1 ? 0 : at[i]);
    }
    element = f(a.v[ia], b.v[ib]);
    for (size_t i = shape.size(); i-- > 0;) {
      if (++at[i] < shape[i]) break;
      at[i] = 0;
    }
  }
  return out;
}

inline Tensor add(const Tensor& a, const Tensor& b) {
  return zip(a, b, [](double x, double y) { return x + y; });
}
inline Tensor subtract(const Tensor& a, const Tensor& b) {
  return zip(a, b, [](double x, double y) { return x - y; });
}
inline Tensor multiply(const Tensor& a, const Tensor& b) {
  return zip(a, b, [](double x, double y) { return x * y; });
}
inline Tensor divide(const Tensor& a, const Tensor& b) {
  return zip(a, b, [](double x, double y) { return x / y; });
}

inline Tensor reshape(Tensor x, Extents shape) {
  demand(product(shape) == x.size(), "reshape changes the number of elements");
  x.shape = std::move(shape);
  return x;
}

// Axis i of the result is axis order[i] of x.
inline Tensor permute(const Tensor& x, const std::vector<size_t>& order) {
  Extents shape(x.shape.size()), stride(x.shape.size(), 1);
  for (size_t i = shape.size() - 1; i-- > 0;) stride[i] = stride[i + 1] * x.shape[i + 1];
  for (size_t i = 0; i < shape.size(); ++i) shape[i] = x.shape[order[i]];
  Tensor out(shape);
  out.integral = x.integral;
  std::vector<int64_t> at(shape.size(), 0);
  for (double& element : out.v) {
    int64_t offset = 0;
    for (size_t i = 0; i < shape.size(); ++i) offset += at[i] * stride[order[i]];
    element = x.v[static_cast<size_t>(offset)];
    for (size_t i = shape.size(); i-- > 0;) {
      if (++at[i] < shape[i]) break;
      at[i] = 0;
    }
  }
  return out;
}

// Sum over the axes, which keep extent 1.
inline Tensor sum(const Tensor& x, const std::vector<size_t>& axes) {
  Extents shape = x.shape;
  for (const size_t a : axes) shape[a] = 1;
  Tensor out(shape);
  std::vector<int64_t> at(x.shape.size(), 0);
  for (const double element : x.v) {
    size_t offset = 0;
    for (size_t i = 0; i < shape.size(); ++i)
      offset =
          offset * static_cast<size_t>(shape[i]) + static_cast<size_t>(shape[i] == 1 ? 0 : at[i]);
    out.v[offset] += element;
    for (size_t i = shape.size(); i-- > 0;) {
      if (++at[i] < x.shape[i]) break;
      at[i] = 0;
    }
  }
  return out;
}

inline Tensor mean(const Tensor& x, const std::vector<size_t>& axes) {
  Tensor out = sum(x, axes);
  const double n = static_cast<double>(x.size()) / static_cast<double>(out.size());
  for (double& e : out.v) e /= n;
  return out;
}

// f(row) changes in place every row of x along the axes (several: together, row-major).
template <class F>
Tensor along(const Tensor& x, const std::vector<size_t>& axes, F&& f) {
  std::vector<size_t> order, back(x.shape.size());
  for (size_t i = 0; i < x.shape.size(); ++i)
    if (std::find(axes.begin(), axes.end(), i) == axes.end()) order.push_back(i);
  order.insert(order.end(), axes.begin(), axes.end());
  for (size_t i = 0; i < order.size(); ++i) back[order[i]] = i;
  Tensor t = permute(x, order);
  int64_t n = 1;
  for (const size_t a : axes) n *= x.shape[a];
  std::vector<double> row(static_cast<size_t>(n));
  for (int64_t begin = 0; begin < t.size(); begin += n) {
    std::copy_n(t.v.begin() + begin, n, row.begin());
    f(row, begin / n);
    std::copy_n(row.begin(), n, t.v.begin() + begin);
  }
  return permute(t, back);
}

inline Tensor concat(const Tensor& a, const Tensor& b, int64_t which) {
  const size_t axis = a.axis(which);
  Extents shape = a.shape;
  shape[axis] += b.shape[axis];
  Tensor out(shape);
  int64_t inner = 1;
  for (size_t i = axis + 1; i < shape.size(); ++i) inner *= shape[i];
  const int64_t na = a.shape[axis] * inner, nb = b.shape[axis] * inner;
  for (int64_t o = 0; na + nb != 0 && o < out.size() / (na + nb); ++o) {
    std::copy_n(a.v.begin() + o * na, na, out.v.begin() + o * (na + nb));
    std::copy_n(b.v.begin() + o * nb, nb, out.v.begin() + o * (na + nb) + na);
  }
  return out;
}

// x (..., n) times a kernel (n, m), plus a bias (m) when there is one.
inline Tensor dense(const Tensor& x, const Tensor& kernel, const Tensor* bias = nullptr) {
  const int64_t n = kernel.dim(0), m = kernel.dim(1);
  demand(x.dim(-1) == n, "dense: widths differ");
  Extents shape = x.shape;
  shape.back() = m;
  Tensor out(shape);
  for (int64_t r = 0; r < x.size() / n; ++r)
    for (int64_t j = 0; j < m; ++j) {
      double s = bias ? bias->v[static_cast<size_t>(j)] : 0.0;
      for (int64_t i = 0; i < n; ++i)
        s += x.v[static_cast<size_t>(r * n + i)] * kernel.v[static_cast<size_t>(i * m + j)];
      out.v[static_cast<size_t>(r * m + j)] = s;
    }
  return out;
}

}  // namespace attn::oracle
