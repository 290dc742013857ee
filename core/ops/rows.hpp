// SPDX-License-Identifier: Apache-2.0
//
// Operators along axes (norms, softmax, reductions): N tensors of one shape, cut into rows. The
// listed axes together make one row of `length()` elements, row-major; the other axes count rows.
//
// run() gives runs of rows with even strides. Inner<T> reads and writes one row of one operand
// through a buffer when its elements do not lie side by side. Plain values. [any-thread]
#pragma once

#include <cstring>

#include "core/ops/grid.hpp"

namespace attn::ops {

// The elements of one row of one operand: merged axes.
class RowAxes {
 public:
  void push(int64_t extent, int64_t stride) { grid_.push(extent, {stride}); }
  [[nodiscard]] int64_t length() const { return grid_.size(); }
  [[nodiscard]] bool side_by_side() const {
    return length() <= 1 || (grid_.line() == length() && grid_.strides()[0] == 1);
  }
  [[nodiscard]] int64_t offset(int64_t element) const { return grid_.offsets(element)[0]; }
  // f(offset) for every element, in order.
  template <class F>
  void each(F&& f) const {
    const int64_t n = grid_.line(), s = grid_.strides()[0];
    for (int64_t first = 0; first < length(); first += n) {
      int64_t o = grid_.offsets(first)[0];
      for (int64_t i = 0; i < n; ++i, o += s) f(o);
    }
  }
  // f(offset, step, count) for stretches of even steps, in order.
  template <class F>
  void lines(F&& f) const {
    const int64_t n = grid_.line(), s = grid_.strides()[0];
    for (int64_t first = 0; first < length(); first += n) f(grid_.offsets(first)[0], s, n);
  }
  // The row as it lies, or copied to buffer.
  template <class T>
  const T* read(const T* row, T* buffer) const {
    if (side_by_side()) return row;
    T* to = buffer;
    each([&](int64_t o) { *to++ = row[o]; });
    return buffer;
  }
  // Where a result may be written: the row itself or the buffer; write() completes it.
  template <class T>
  T* target(T* row, T* buffer) const {
    return side_by_side() ? row : buffer;
  }
  template <class T>
  void write(T* row, const T* buffer) const {
    if (row == buffer) return;
    each([&](int64_t o) { row[o] = *buffer++; });
  }
  template <class T>
  void add(T* row, const T* values) const {
    if (side_by_side()) {
      const int64_t n = length();
      for (int64_t i = 0; i < n; ++i) row[i] += values[i];
    } else {
      each([&](int64_t o) { row[o] += *values++; });
    }
  }

 private:
  Grid<1> grid_;
};

template <int N>
class Rows {
 public:
  using Offsets = std::array<int64_t, N>;

  // The axes in `mask` make a row. Absent operands (nullptr) are walked over as if they were the
  // first one; they are never read.
  Rows(const std::array<const attn_view*, N>& views, uint32_t mask) {
    for (int axis = 0; axis < views[0]->rank; ++axis) {
      const int64_t extent = views[0]->shape[axis];
      Offsets s;
      for (int i = 0; i < N; ++i) s[i] = (views[i] ? views[i] : views[0])->stride[axis];
      if (mask >> axis & 1u)
        for (int i = 0; i < N; ++i) inner_[i].push(extent, s[i]);
      else
        outer_.push(extent, s);
    }
  }
  [[nodiscard]] int64_t count() const { return outer_.size(); }
  [[nodiscard]] int64_t length() const { return inner_[0].length(); }
  [[nodiscard]] const RowAxes& inner(int i) const { return inner_[i]; }
  [[nodiscard]] Offsets offsets(int64_t row) const { return outer_.offsets(row); }
  // Rows that one piece of a loop has.
  [[nodiscard]] int64_t grain() const {
    return std::max<int64_t>(1, kElementGrain / 2 / std::max<int64_t>(length(), 1));
  }

  // body(offsets, count, strides, first_row, worker)
  template <class F>
  void run(Parallel& p, F&& body) const {
    outer_.run(p, grain(), body);
  }
  // body(offsets, row, worker), one row at a time
  template <class F>
  void each(Parallel& p, F&& body) const {
    outer_.run(p, grain(), [&](Offsets o, int64_t n, const Offsets& s, int64_t first, int worker) {
      for (int64_t k = 0; k < n; ++k) {
        body(o, first + k, worker);
        for (int i = 0; i < N; ++i) o[i] += s[i];
      }
    });
  }
  // The same over rows [begin, end) on the calling thread.
  template <class F>
  void each_of(int64_t begin, int64_t end, F&& body) const {
    const int64_t n = outer_.line();
    const Offsets s = outer_.strides();
    while (begin < end) {
      Offsets o = outer_.offsets(begin);
      const int64_t stop = std::min(end, (begin / n + 1) * n);
      for (; begin < stop; ++begin) {
        body(o, begin);
        for (int i = 0; i < N; ++i) o[i] += s[i];
      }
    }
  }

 private:
  Grid<N> outer_;
  RowAxes inner_[N];
};

// Sums over rows that come out the same for any number of threads: the rows are cut into chunks by
// their number alone, each chunk adds up its own `width` sums, and the chunks are added in order.
struct Chunks {
  int64_t count, size;
  Chunks(int64_t rows, int64_t length) {
    const int64_t least = std::max<int64_t>(1, kElementGrain / std::max<int64_t>(length, 1));
    count = std::clamp<int64_t>(rows / least, 1, 32);
    size = std::max<int64_t>(1, (rows + count - 1) / count);
  }
};

// body(begin, end, sums, worker) adds to `width` zeroed sums of its chunk. Returns the totals, in
// scratch memory.
template <class F>
double* chunked_sums(Parallel& p, int64_t rows, int64_t length, int64_t width, F&& body) {
  const Chunks chunks(rows, length);
  double* sums = p.scratch_array<double>(static_cast<size_t>(chunks.count * width) + 1);
  p.loop(chunks.count, 1, [&](int64_t begin, int64_t end, int worker) {
    for (int64_t k = begin; k < end; ++k) {
      double* mine = sums + k * width;
      std::fill(mine, mine + width, 0.0);
      body(std::min(rows, k * chunks.size), std::min(rows, (k + 1) * chunks.size), mine, worker);
    }
  });
  for (int64_t k = 1; k < chunks.count; ++k)
    for (int64_t i = 0; i < width; ++i) sums[i] += sums[k * width + i];
  return sums;
}

// Row buffers for every worker.
template <class T>
class Buffers {
 public:
  Buffers(Parallel& p, int64_t length, int per_worker = 1)
      : length_((length + 15) / 16 * 16 + 16),
        per_worker_(per_worker),
        memory_(p.scratch_array<T>(
            static_cast<size_t>(length_ * per_worker * std::max(1, p.concurrency())))) {}
  [[nodiscard]] T* get(int worker, int n = 0) const {
    return memory_ + (static_cast<int64_t>(worker) * per_worker_ + n) * length_;
  }

 private:
  int64_t length_;
  int per_worker_;
  T* memory_;
};

// The elements of v one after another: where they lie if dense, else a copy in scratch memory.
template <class T>
const T* dense(Parallel& p, const attn_view& v) {
  if (is_dense(v)) return data<T>(v);
  T* to = p.scratch_array<T>(static_cast<size_t>(size_of(v)) + 1);
  const Grid<1> g = Grid<1>::of({&v});
  const T* from = data<T>(v);
  for (int64_t i = 0; i < g.size(); ++i) to[i] = from[g.offsets(i)[0]];
  return to;
}

// v[i] += values[i] for the elements of v in row-major order. Small tensors only: weights.
template <class T>
void add_to(const attn_view& v, const double* values, double factor = 1) {
  const Grid<1> g = Grid<1>::of({&v});
  for (int64_t i = 0; i < g.size(); ++i)
    data<T>(v)[g.offsets(i)[0]] += static_cast<T>(values[i] * factor);
}

}  // namespace attn::ops
