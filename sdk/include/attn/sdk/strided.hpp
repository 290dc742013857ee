// SPDX-License-Identifier: Apache-2.0
//
// Tensors as they lie in memory, for the loops of an operator: elements, lines along an axis, and rows of several
// tensors of one shape. Any strides; loops over elements that lie side by side are such that compilers make vectors.
//
//   Line<T> q = line<T>(*c.in(0), b, h, i);                        // the last axis of q at (b, h, i)
//   for_line(n, [](T& y, T x) { y += x; }, to, from);              // along several lines
//   StridedRows<3> rows({c.out(0), c.in(0), c.in(1)});             // y = a - 2 b, on all threads
//   rows.each<T>(c, [](T& y, T a, T b) { y = a - 2 * b; });
//
// Nothing is checked and nothing allocated but by sum(). A StridedRows looks at the views that it was given; each() and
// sum() belong to the thread of the call, everything else to any.
#pragma once

#include <attn/sdk/operator.hpp>

#include <algorithm>

namespace attn::sdk {

// The element of v at the given indices of its first axes, and at 0 of the others.
template <class T, class... Index>
T* element(const attn_view& v, Index... at) {
  T* p = data<T>(v);
  int axis = 0;
  ((p += at * v.stride[axis++]), ...);
  return p;
}

// Elements `step` apart.
template <class T>
struct Line {
  T* data;
  int64_t step;
  T& operator[](int64_t i) const { return data[i * step]; }
  operator Line<const T>() const { return {data, step}; }  // NOLINT
};

// The last axis of v at the given indices of all others.
template <class T, class... Index>
Line<T> line(const attn_view& v, Index... at) {
  return {element<T>(v, at...), v.stride[sizeof...(at)]};
}

// f(a[i], b[i], ...) for i < n.
template <class F, class... T>
void for_line(int64_t n, F&& f, Line<T>... lines) {
  if (((lines.step == 1) && ...))
    for (int64_t i = 0; i < n; ++i) f(lines.data[i]...);
  else
    for (int64_t i = 0; i < n; ++i) f(lines[i]...);
}

// Rows along one axis of N views of one shape. Row r is the r-th of the other axes' positions in row-major order.
template <size_t N>
class StridedRows {
 public:
  using Place = std::array<int64_t, N>;  // where a row begins in each view

  // Views but the first may be nullptr: they have no rows. axis: from the end when negative. Rank 0 is one row of one
  // element.
  explicit StridedRows(const std::array<const attn_view*, N>& views, int axis = -1)
      : views_(views), shape_(*views[0]), axis_(axis < 0 ? axis + shape_.rank : axis) {
    if (shape_.rank > 0) {
      length_ = shape_.shape[axis_];
      for (size_t n = 0; n < N; ++n) step_[n] = views_[n] ? views_[n]->stride[axis_] : 0;
    }
    count_ = length_ > 0 ? size_of(shape_) / length_ : 0;
  }
  [[nodiscard]] int64_t count() const { return count_; }
  [[nodiscard]] int64_t length() const { return length_; }
  // Rows of one task.
  [[nodiscard]] int64_t grain() const {
    return std::max<int64_t>(1, kElements / std::max<int64_t>(length_, 1));
  }

  [[nodiscard]] Place place(int64_t row) const {
    Place at{};
    for (int axis = shape_.rank - 1; axis >= 0; --axis) {
      if (axis == axis_) continue;
      const int64_t extent = shape_.shape[axis], i = row % extent;
      for (size_t n = 0; n < N; ++n) at[n] += views_[n] ? i * views_[n]->stride[axis] : 0;
      row /= extent;
    }
    return at;
  }
  template <class T>
  [[nodiscard]] Line<T> line(size_t view, const Place& place) const {
    if (!views_[view]) return {nullptr, 0};
    return {data<T>(*views_[view]) + place[view], step_[view]};
  }

  // body(place, row) for all rows.
  template <class F>
  void run(const OpCall& c, F&& body) const {
    c.loop(count_, grain(), [&](int64_t begin, int64_t end, int32_t) {
      for (int64_t row = begin; row < end; ++row) body(place(row), row);
    });
  }
  // f(x0, x1, ...) for all elements. No view may be nullptr.
  template <class T, class F>
  void each(const OpCall& c, F&& f) const {
    run(c, [&](const Place& at, int64_t) { each_of<T>(at, f, std::make_index_sequence<N>()); });
  }
  // The sum of f(x0, x1, ...): of each row, of the rows of a task, then of the tasks in order. The same for any number
  // of threads.
  template <class T, class F>
  [[nodiscard]] double sum(const OpCall& c, F&& f) const {
    const int64_t tasks = (count_ + grain() - 1) / grain();
    double* sums = c.scratch_array<double>(static_cast<size_t>(tasks) + 1);
    c.loop(tasks, 1, [&](int64_t begin, int64_t end, int32_t) {
      for (int64_t task = begin; task < end; ++task) {
        sums[task] = 0;
        for (int64_t row = task * grain(); row < std::min(count_, (task + 1) * grain()); ++row) {
          double sum = 0;
          const auto add = [&](const auto&... x) { sum += f(x...); };
          each_of<T>(place(row), add, std::make_index_sequence<N>());
          sums[task] += sum;
        }
      }
    });
    double total = 0;
    for (int64_t task = 0; task < tasks; ++task) total += sums[task];
    return total;
  }

 private:
  static constexpr int64_t kElements = 16384;  // of a task: small beside a core's cache

  template <class T, class F, size_t... n>
  void each_of(const Place& at, F& f, std::index_sequence<n...>) const {
    for_line(length_, f, line<T>(n, at)...);
  }

  std::array<const attn_view*, N> views_;
  const attn_view& shape_;
  int axis_;
  int64_t length_ = 1, count_;
  Place step_{};
};

}  // namespace attn::sdk
