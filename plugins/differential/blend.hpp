// SPDX-License-Identifier: Apache-2.0
//
// y = a - lambda b: what two attention maps agree on is taken away (Ye et al. 2024, eq. 1), with
// lambda = clip(factor * parameter, 0.1, 0.9). a, b, y: any one shape, any strides; parameter: one
// element, which gets a gradient only while the product lies inside the bounds.
#pragma once

#include <attn/sdk/plugin.hpp>

#include <algorithm>

namespace differential {

using namespace attn::sdk;

struct blend {
  static constexpr const char* name = "differential.blend";
  static constexpr const char* doc = "a - clip(factor * parameter, 0.1, 0.9) * b";
  static constexpr uint32_t version = 1, inputs = 3, outputs = 1;
  static constexpr attn_param attributes[] = {real_attribute("factor", 1.0)};
  static constexpr double kLowest = 0.1, kHighest = 0.9;

  static void shape(OpCall c) {
    const attn_view &a = *c.in(0), &b = *c.in(1), &parameter = *c.in(2);
    const bool floating = a.dtype == ATTN_F32 || a.dtype == ATTN_F64;
    if (!floating || b.dtype != a.dtype || parameter.dtype != a.dtype)
      fail("a, b and parameter must be of one kind, float32 or float64");
    bool same = a.rank == b.rank;
    for (int i = 0; same && i < a.rank; ++i) same = a.shape[i] == b.shape[i];
    if (!same)
      fail("a %s and b %s must have one shape", shape_text(a).c_str(), shape_text(b).c_str());
    if (size_of(parameter) != 1)
      fail("parameter has shape %s; expected one element", shape_text(parameter).c_str());
    c.out_like(0, a);
  }

  template <class T>
  static void forward(OpCall c) {
    const T lambda = static_cast<T>(std::clamp(product<T>(c), kLowest, kHighest));
    const std::array<const attn_view*, 3> views{c.out(0), c.in(0), c.in(1)};
    const Rows<3> rows(views);
    rows.run(c, [&](const Place<3>& p, int64_t) {
      T* y = data<T>(*views[0]) + p[0];
      const T *a = data<T>(*views[1]) + p[1], *b = data<T>(*views[2]) + p[2];
      rows.each([&](int64_t i, int64_t j, int64_t k) { y[i] = a[j] - lambda * b[k]; });
    });
  }

  // da = dy, db = -lambda dy, dparameter = -factor sum(dy b) inside the bounds.
  template <class T>
  static void vjp(OpCall c) {
    if (!c.dout(0)) return;
    const double x = product<T>(c);
    const T lambda = static_cast<T>(std::clamp(x, kLowest, kHighest));
    if (c.din(0)) add<T>(c, *c.din(0), T(1));
    if (c.din(1)) add<T>(c, *c.din(1), -lambda);
    if (!c.din(2) || x < kLowest || x > kHighest) return;
    const std::array<const attn_view*, 2> views{c.dout(0), c.in(1)};
    const Rows<2> rows(views);
    // One sum for each piece of fixed size, added up in order: the same for any number of threads.
    double* sums = c.scratch_array<double>(static_cast<size_t>(rows.pieces()) + 1);
    std::fill_n(sums, rows.pieces(), 0.0);
    rows.run(c, [&](const Place<2>& p, int64_t piece) {
      const T *g = data<T>(*views[0]) + p[0], *b = data<T>(*views[1]) + p[1];
      double sum = 0;
      rows.each([&](int64_t i, int64_t j) { sum += static_cast<double>(g[i]) * b[j]; });
      sums[piece] += sum;
    });
    double sum = 0;
    for (int64_t i = 0; i < rows.pieces(); ++i) sum += sums[i];
    *data<T>(*c.din(2)) -= static_cast<T>(c.real(0) * sum);
  }

  static attn_cost cost(OpCall c) {
    const auto n = static_cast<double>(size_of(*c.in(0)));
    return {sizeof(attn_cost), 0, 2 * n, 3 * n * (c.dtype() == ATTN_F64 ? 8 : 4)};
  }

 private:
  template <size_t N>
  using Place = std::array<int64_t, N>;

  template <class T>
  static double product(const OpCall& c) {
    return c.real(0) * static_cast<double>(*data<T>(*c.in(2)));
  }

  template <class T>
  static void add(const OpCall& c, const attn_view& to, T factor) {
    const std::array<const attn_view*, 2> views{&to, c.dout(0)};
    const Rows<2> rows(views);
    rows.run(c, [&](const Place<2>& p, int64_t) {
      T* d = data<T>(*views[0]) + p[0];
      const T* g = data<T>(*views[1]) + p[1];
      rows.each([&](int64_t i, int64_t j) { d[i] += factor * g[j]; });
    });
  }

  // Views of one shape, walked by rows of the last axis; several rows make a piece.
  template <size_t N>
  class Rows {
   public:
    explicit Rows(const std::array<const attn_view*, N>& views) : views_(views) {
      const attn_view& v = *views[0];
      if (v.rank > 0) length_ = v.shape[v.rank - 1];
      count_ = length_ > 0 ? size_of(v) / length_ : 0;
      for (size_t n = 0; n < N; ++n) {
        if (v.rank > 0) step_[n] = views[n]->stride[v.rank - 1];
        side_by_side_ = side_by_side_ && (step_[n] == 1 || length_ == 1);
      }
      piece_ = std::max<int64_t>(1, kElements / std::max<int64_t>(length_, 1));
    }
    [[nodiscard]] int64_t pieces() const { return (count_ + piece_ - 1) / piece_; }
    // body(offsets of a row, its piece), pieces in parallel.
    template <class Body>
    void run(const OpCall& c, Body&& body) const {
      c.loop(pieces(), 1, [&](int64_t begin, int64_t end, int32_t) {
        for (int64_t piece = begin; piece < end; ++piece)
          for (int64_t row = piece * piece_; row < std::min(count_, (piece + 1) * piece_); ++row)
            body(place(row), piece);
      });
    }
    // f(offset in each view) for the elements of a row.
    template <class F>
    void each(F&& f) const {
      if (side_by_side_)
        for (int64_t i = 0; i < length_; ++i) call(f, i, kUnits);
      else
        for (int64_t i = 0; i < length_; ++i) call(f, i, step_);
    }

   private:
    static constexpr int64_t kElements = 16384;  // of a piece: small beside a core's cache
    static constexpr Place<N> kUnits = [] {
      Place<N> ones{};
      for (auto& x : ones) x = 1;
      return ones;
    }();
    template <class F>
    static void call(F& f, int64_t i, const Place<N>& step) {
      if constexpr (N == 2)
        f(i * step[0], i * step[1]);
      else
        f(i * step[0], i * step[1], i * step[2]);
    }
    [[nodiscard]] Place<N> place(int64_t row) const {
      Place<N> at{};
      for (int axis = views_[0]->rank - 2; axis >= 0; --axis) {
        const int64_t extent = views_[0]->shape[axis], i = row % extent;
        for (size_t n = 0; n < N; ++n) at[n] += i * views_[n]->stride[axis];
        row /= extent;
      }
      return at;
    }

    const std::array<const attn_view*, N>& views_;
    int64_t length_ = 1, count_ = 0, piece_ = 1;
    Place<N> step_ = kUnits;
    bool side_by_side_ = true;
  };
};

}  // namespace differential
