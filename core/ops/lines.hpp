// SPDX-License-Identifier: Apache-2.0
//
// N tensors of one shape as lines that are added up: some axes make a line, over others (`summed`) lines meet one
// another, the rest is kept. A unit of work is a chunk of the summed positions of one kept position; chunks depend on
// the shape alone, so that sums are the same for any number of threads.
#pragma once

#include "core/ops/rows.hpp"

namespace attn::ops {

template <int N>
class Lines {
 public:
  using Offsets = std::array<int64_t, N>;

  // line, summed: masks of axes.
  Lines(const std::array<const attn_view*, N>& views, uint32_t line, uint32_t summed) {
    for (int axis = 0; axis < views[0]->rank; ++axis) {
      const int64_t extent = views[0]->shape[axis];
      Offsets s;
      for (size_t i = 0; i < N; ++i) s[i] = views[i]->stride[axis];
      if (line >> axis & 1u)
        line_ *= extent;
      else
        (summed >> axis & 1u ? summed_ : kept_).push(extent, s);
    }
    const int64_t most = std::max<int64_t>(1, 32 / std::max<int64_t>(1, kept_.size()));
    chunks_ = std::min(most, Chunks(summed_.size(), line_).count);
    size_ = (summed_.size() + chunks_ - 1) / chunks_;
  }
  [[nodiscard]] int64_t line() const { return line_; }
  [[nodiscard]] int64_t kept() const { return kept_.size(); }
  [[nodiscard]] int64_t chunks() const { return chunks_; }
  [[nodiscard]] int64_t units() const { return kept() * chunks_; }
  [[nodiscard]] Offsets kept_offsets(int64_t i) const { return kept_.offsets(i); }

  // body(unit), one after the other on each thread.
  template <class F>
  void each_unit(Parallel& p, F&& body) const {
    const int64_t grain = std::max<int64_t>(1, kElementGrain / std::max<int64_t>(1, size_ * line_));
    p.loop(units(), grain, [&](int64_t begin, int64_t end, int) {
      for (int64_t unit = begin; unit < end; ++unit) body(unit);
    });
  }
  // body(offsets, count, strides) for stretches of evenly spaced lines of a unit.
  template <class F>
  void each_stretch(int64_t unit, F&& body) const {
    const Offsets base = kept_.offsets(unit / chunks_);
    int64_t at = unit % chunks_ * size_;
    const int64_t stop = std::min(summed_.size(), at + size_), run = summed_.line();
    while (at < stop) {
      const int64_t count = std::min(stop, (at / run + 1) * run) - at;
      Offsets o = summed_.offsets(at);
      for (size_t i = 0; i < N; ++i) o[i] += base[i];
      body(o, count, summed_.strides());
      at += count;
    }
  }

 private:
  Grid<N> kept_, summed_;
  int64_t line_ = 1, chunks_ = 1, size_ = 1;
};

}  // namespace attn::ops
