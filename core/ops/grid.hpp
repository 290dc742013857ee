// SPDX-License-Identifier: Apache-2.0
//
// Walking over several strided tensors of one shape at once.
//
// A Grid<N> holds the common extents and the strides of N operands. Neighbouring axes that all
// operands pass through evenly are merged, so dense tensors become one long line. run() cuts it
// into lines along the last axis, and into pieces of those; a piece depends on the shape alone,
// never on the number of threads. Strides of 0 repeat an element, negative ones are fine.
// Offsets and strides count elements. A Grid is a plain value. [any-thread]
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "core/ops/op.hpp"

namespace attn::ops {

template <int N>
class Grid {
 public:
  using Offsets = std::array<int64_t, N>;

  // Axes from the slowest to the fastest; order of elements is the order of a row-major tensor.
  void push(int64_t extent, const Offsets& strides) {
    size_ *= extent;
    if (extent == 1) return;
    if (rank_ > 0) {
      bool even = true;
      for (int i = 0; i < N; ++i) even = even && stride_[rank_ - 1][i] == strides[i] * extent;
      if (even) {
        shape_[rank_ - 1] *= extent;
        stride_[rank_ - 1] = strides;
        return;
      }
    }
    shape_[rank_] = extent;
    stride_[rank_++] = strides;
  }

  // All axes of views that have the same shape.
  static Grid of(const std::array<const attn_view*, N>& views) {
    Grid g;
    for (int axis = 0; axis < views[0]->rank; ++axis) {
      Offsets s;
      for (int i = 0; i < N; ++i) s[i] = views[i]->stride[axis];
      g.push(views[0]->shape[axis], s);
    }
    return g;
  }

  [[nodiscard]] int64_t size() const { return size_; }
  // Length of a line, and the strides along it.
  [[nodiscard]] int64_t line() const { return rank_ ? shape_[rank_ - 1] : 1; }
  [[nodiscard]] Offsets strides() const { return rank_ ? stride_[rank_ - 1] : Offsets{}; }

  [[nodiscard]] Offsets offsets(int64_t flat) const {
    Offsets o{};
    for (int d = rank_ - 1; d >= 0; --d) {
      const int64_t at = flat % shape_[d];
      flat /= shape_[d];
      for (int i = 0; i < N; ++i) o[i] += at * stride_[d][i];
    }
    return o;
  }

  // body(offsets, count, strides, first, worker): `count` elements from number `first` on, all on
  // one line. Pieces have about `grain` elements.
  template <class F>
  void run(Parallel& p, int64_t grain, F&& body) const {
    if (size_ == 0) return;
    const int64_t n = line(), lines = size_ / n;
    const Offsets s = strides();
    grain = std::max<int64_t>(grain, 1);
    if (n > grain) {  // pieces of one line
      const int64_t pieces = (n + grain - 1) / grain;
      p.loop(lines * pieces, 1, [&](int64_t begin, int64_t end, int worker) {
        for (int64_t k = begin; k < end; ++k) {
          const int64_t first = k / pieces * n + k % pieces * grain;
          body(offsets(first), std::min(grain, n - k % pieces * grain), s, first, worker);
        }
      });
    } else {  // several lines a piece
      p.loop(lines, std::max<int64_t>(1, grain / n), [&](int64_t begin, int64_t end, int worker) {
        for (int64_t k = begin; k < end; ++k) body(offsets(k * n), n, s, k * n, worker);
      });
    }
  }

 private:
  int rank_ = 0;
  int64_t size_ = 1;
  int64_t shape_[ATTN_MAX_RANK] = {};
  Offsets stride_[ATTN_MAX_RANK] = {};
};

// f(place of element i in each operand) along one line; a loop of its own where all strides are 1, of which
// compilers make vectors.
template <class F>
void for_line(int64_t n, const std::array<int64_t, 2>& s, F&& f) {
  if (s[0] == 1 && s[1] == 1) {
    for (int64_t i = 0; i < n; ++i) f(i, i);
  } else {
    for (int64_t i = 0; i < n; ++i) f(i * s[0], i * s[1]);
  }
}
template <class F>
void for_line(int64_t n, const std::array<int64_t, 3>& s, F&& f) {
  if (s[0] == 1 && s[1] == 1 && s[2] == 1) {
    for (int64_t i = 0; i < n; ++i) f(i, i, i);
  } else {
    for (int64_t i = 0; i < n; ++i) f(i * s[0], i * s[1], i * s[2]);
  }
}
template <class F>
void for_line(int64_t n, const std::array<int64_t, 4>& s, F&& f) {
  if (s[0] == 1 && s[1] == 1 && s[2] == 1 && s[3] == 1) {
    for (int64_t i = 0; i < n; ++i) f(i, i, i, i);
  } else {
    for (int64_t i = 0; i < n; ++i) f(i * s[0], i * s[1], i * s[2], i * s[3]);
  }
}

// Elements that one piece of an elementwise loop has.
inline constexpr int64_t kElementGrain = 16384;

// A view of another shape that repeats along axes of extent 1 and along missing leading axes.
// The shape must broadcast.
inline attn_view broadcast_to(const attn_view& v, int rank, const int64_t* shape) {
  attn_view b = v;
  b.rank = rank;
  for (int axis = rank - 1; axis >= 0; --axis) {
    const int from = axis - (rank - v.rank);
    b.shape[axis] = shape[axis];
    b.stride[axis] = from < 0 || (v.shape[from] == 1 && shape[axis] != 1) ? 0 : v.stride[from];
  }
  return b;
}
inline attn_view broadcast_to(const attn_view& v, const attn_view& like) {
  return broadcast_to(v, like.rank, like.shape);
}

// A dense view of the shape of v over other memory.
inline attn_view dense_like(const attn_view& v, void* memory) {
  attn_view d = v;
  d.data = memory;
  set_dense_strides(d);
  return d;
}

}  // namespace attn::ops
