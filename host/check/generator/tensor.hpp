// SPDX-License-Identifier: Apache-2.0
//
// A tensor that is easy to change by hand: dense, row-major, double. Wrong shapes throw std::logic_error: they are
// mistakes of the checker.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace attn::check {

inline void demand(bool holds, const char* text) {
  if (!holds) throw std::logic_error(text);
}

inline int64_t product(const std::vector<int64_t>& e) {
  int64_t n = 1;
  for (const int64_t x : e) n *= x;
  return n;
}

struct Tensor {
  std::vector<int64_t> shape{};
  std::vector<double> v{};
  bool integral = false;  // whole numbers or bool: a keep mask, not an additive one

  Tensor() = default;
  explicit Tensor(std::vector<int64_t> e, double fill = 0)
      : shape(std::move(e)), v(static_cast<size_t>(product(shape)), fill) {}
  Tensor(std::vector<int64_t> e, std::vector<double> values)
      : shape(std::move(e)), v(std::move(values)) {
    demand(static_cast<int64_t>(v.size()) == product(shape), "values do not fill the shape");
  }

  [[nodiscard]] int rank() const { return static_cast<int>(shape.size()); }
  [[nodiscard]] int64_t size() const { return static_cast<int64_t>(v.size()); }
  [[nodiscard]] size_t axis(int64_t a) const {
    const int64_t i = a < 0 ? a + rank() : a;
    demand(i >= 0 && i < rank(), "axis out of range");
    return static_cast<size_t>(i);
  }
  [[nodiscard]] int64_t dim(int64_t a) const { return shape[axis(a)]; }

  template <class... I>
  [[nodiscard]] size_t index(I... i) const {
    const int64_t at[] = {static_cast<int64_t>(i)...};
    demand(sizeof...(I) == shape.size(), "wrong number of indices");
    int64_t offset = 0;
    for (size_t a = 0; a < sizeof...(I); ++a) offset = offset * shape[a] + at[a];
    return static_cast<size_t>(offset);
  }
  template <class... I>
  double& at(I... i) {
    return v[index(i...)];
  }
  template <class... I>
  [[nodiscard]] double at(I... i) const {
    return v[index(i...)];
  }
};

// Rows, of the first axis, in another order.
inline Tensor rows(const Tensor& x, const std::vector<int64_t>& order) {
  std::vector<int64_t> shape = x.shape;
  shape[0] = static_cast<int64_t>(order.size());
  Tensor out(shape);
  out.integral = x.integral;
  const auto row = static_cast<std::ptrdiff_t>(x.size() / x.dim(0));
  for (size_t b = 0; b < order.size(); ++b)
    std::copy_n(x.v.begin() + order[b] * row, row,
                out.v.begin() + static_cast<std::ptrdiff_t>(b) * row);
  return out;
}

// Elements begin..end-1 of an axis.
inline Tensor slice(const Tensor& x, int64_t which, int64_t begin, int64_t end) {
  const size_t a = x.axis(which);
  std::vector<int64_t> shape = x.shape;
  shape[a] = end - begin;
  Tensor out(shape);
  out.integral = x.integral;
  int64_t inner = 1;
  for (size_t i = a + 1; i < shape.size(); ++i) inner *= shape[i];
  const int64_t block = shape[a] * inner;
  for (int64_t o = 0; block != 0 && o < out.size() / block; ++o)
    std::copy_n(x.v.begin() + (o * x.shape[a] + begin) * inner, block, out.v.begin() + o * block);
  return out;
}

// A keep mask of rank 1 to 4 as zeros and ones of shape (batch, heads, queries, keys); nothing given: all ones. NaN
// keeps nothing.
[[nodiscard]] inline Tensor keep_mask(const Tensor* mask, int64_t batch, int64_t heads,
                                      int64_t queries, int64_t keys) {
  Tensor keep({batch, heads, queries, keys}, 1.0);
  if (!mask) return keep;
  std::vector<int64_t> shape{1, 1, 1, 1};
  const auto n = static_cast<size_t>(mask->rank());
  demand(n >= 1 && n <= 4, "a keep mask has one to four axes");
  for (size_t i = 0; i < n; ++i) shape[4 - n + i] = mask->shape[i];
  // (batch, key) and (batch, query, key): the batch comes first.
  if (n == 2 || n == 3) std::swap(shape[0], shape[4 - n]);
  for (int64_t b = 0; b < batch; ++b)
    for (int64_t h = 0; h < heads; ++h)
      for (int64_t q = 0; q < queries; ++q)
        for (int64_t k = 0; k < keys; ++k) {
          const int64_t at[] = {b, h, q, k};
          int64_t offset = 0;
          for (size_t i = 0; i < 4; ++i) offset = offset * shape[i] + (shape[i] == 1 ? 0 : at[i]);
          keep.at(b, h, q, k) = mask->v[static_cast<size_t>(offset)] > 0 ? 1 : 0;
        }
  return keep;
}

}  // namespace attn::check
