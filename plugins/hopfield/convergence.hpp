// SPDX-License-Identifier: Apache-2.0
//
// What decides that a head has converged. Neither operator has a gradient: the decision is a constant.
#pragma once

#include <attn/sdk/plugin.hpp>
#include <attn/sdk/strided.hpp>

namespace hopfield {

using namespace attn::sdk;

// sum + sum over queries and keys of (now - before)^2, for each batch element and head.
// now, before: (B, H, Q, K), any strides, keys side by side; sum, result: (B, H, 1, 1).
struct change {
  static constexpr const char* name = "hopfield.change";
  static constexpr const char* doc = "sum + sum over the last two axes of (now - before)^2";
  static constexpr uint32_t version = 1, inputs = 3, outputs = 1, required = 0b011,
                            flags = ATTN_OP_NO_GRAD;

  static void shape(OpCall c) {
    const attn_view &now = *c.in(0), &before = *c.in(1);
    const bool floating = now.dtype == ATTN_F32 || now.dtype == ATTN_F64;
    bool same = now.rank == 4 && before.rank == 4 && floating && before.dtype == now.dtype;
    for (int i = 0; same && i < 4; ++i) same = now.shape[i] == before.shape[i];
    if (!same)
      fail("now {} and before {} must be (batch, head, query, key), of one shape and kind",
           shape_text(now), shape_text(before));
    if (const attn_view* sum = c.in(2);
        sum && (sum->rank != 4 || sum->dtype != now.dtype || sum->shape[0] != now.shape[0] ||
                sum->shape[1] != now.shape[1] || sum->shape[2] != 1 || sum->shape[3] != 1))
      fail("sum {} does not belong to maps of shape {}", shape_text(*sum), shape_text(now));
    c.out_shape(0, now.dtype, {now.shape[0], now.shape[1], 1, 1});
  }

  // One sum for each row, then the rows of a head in order: the same for any number of threads.
  template <class T>
  static void forward(OpCall c) {
    const StridedRows<2> rows({c.in(0), c.in(1)});
    double* sums = c.scratch_array<double>(static_cast<size_t>(rows.count()) + 1);
    rows.run(c, [&](const auto& at, int64_t row) {
      sums[row] =
          distance<T>(rows.length(), rows.template line<T>(0, at), rows.template line<T>(1, at));
    });
    const int64_t heads = c.in(0)->shape[1], queries = c.in(0)->shape[2];
    for (int64_t g = 0; g < c.in(0)->shape[0] * heads; ++g) {
      const int64_t b = g / heads, h = g % heads;
      double sum = c.in(2) ? static_cast<double>(*element<T>(*c.in(2), b, h)) : 0.0;
      for (int64_t q = 0; q < queries; ++q) sum += sums[g * queries + q];
      *element<T>(*c.out(0), b, h) = static_cast<T>(sum);
    }
  }

 private:
  template <class T>
  static double distance(int64_t n, Line<const T> a, Line<const T> b) {
    constexpr int64_t kLanes = 16;
    T lanes[kLanes] = {};
    int64_t i = 0;
    if (a.step == 1 && b.step == 1)
      for (; i + kLanes <= n; i += kLanes)
        for (int64_t j = 0; j < kLanes; ++j) {
          const T d = a.data[i + j] - b.data[i + j];
          lanes[j] += d * d;
        }
    double sum = 0;
    for (const T lane : lanes) sum += static_cast<double>(lane);
    for (; i < n; ++i) {
      const double d = static_cast<double>(a[i]) - static_cast<double>(b[i]);
      sum += d * d;
    }
    return sum;
  }
};

// A copy for looking at: nothing done with it is recorded.
struct glance {
  static constexpr const char* name = "hopfield.glance";
  static constexpr const char* doc = "a copy without gradient of x (B, H, S, D)";
  static constexpr uint32_t version = 1, inputs = 1, outputs = 1, flags = ATTN_OP_NO_GRAD;

  static void shape(OpCall c) {
    const attn_view& x = *c.in(0);
    if (x.rank != 4 || (x.dtype != ATTN_F32 && x.dtype != ATTN_F64))
      fail("x {} must be floating, (batch, head, position, size)", shape_text(x));
    c.out_like(0, x);
  }
  template <class T>
  static void forward(OpCall c) {
    StridedRows<2>({c.out(0), c.in(0)}).each<T>(c, [](T& y, T x) { y = x; });
  }
};

}  // namespace hopfield
