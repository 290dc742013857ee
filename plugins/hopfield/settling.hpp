// SPDX-License-Identifier: Apache-2.0
//
// What decides that a head has settled. Neither operator has a gradient: the decision is a constant.
#pragma once

#include <attn/sdk/plugin.hpp>

#include <algorithm>

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
      fail("now %s and before %s must be (batch, head, query, key), of one shape and kind",
           shape_text(now).c_str(), shape_text(before).c_str());
    if (const attn_view* sum = c.in(2);
        sum && (sum->rank != 4 || sum->dtype != now.dtype || sum->shape[0] != now.shape[0] ||
                sum->shape[1] != now.shape[1] || sum->shape[2] != 1 || sum->shape[3] != 1))
      fail("sum %s does not belong to maps of shape %s", shape_text(*sum).c_str(),
           shape_text(now).c_str());
    c.out_shape(0, now.dtype, {now.shape[0], now.shape[1], 1, 1});
  }

  // One sum for each row, then the rows of a head in order: the same for any number of threads.
  template <class T>
  static void forward(OpCall c) {
    const attn_view &now = *c.in(0), &before = *c.in(1), &out = *c.out(0);
    const int64_t heads = now.shape[1], queries = now.shape[2], keys = now.shape[3];
    const int64_t groups = now.shape[0] * heads, rows = groups * queries;
    double* sums = c.scratch_array<double>(static_cast<size_t>(rows) + 1);
    c.loop(rows, std::max<int64_t>(1, kElements / std::max<int64_t>(keys, 1)),
           [&](int64_t begin, int64_t end, int32_t) {
             for (int64_t r = begin; r < end; ++r) {
               const int64_t q = r % queries, h = r / queries % heads, b = r / queries / heads;
               sums[r] = distance(keys, row<T>(now, b, h, q), now.stride[3],
                                  row<T>(before, b, h, q), before.stride[3]);
             }
           });
    for (int64_t g = 0; g < groups; ++g) {
      const int64_t h = g % heads, b = g / heads;
      double sum = c.in(2) ? static_cast<double>(*row<T>(*c.in(2), b, h, 0)) : 0.0;
      for (int64_t q = 0; q < queries; ++q) sum += sums[g * queries + q];
      *row<T>(out, b, h, 0) = static_cast<T>(sum);
    }
  }

 private:
  static constexpr int64_t kElements = 16384;  // a loop's least piece

  template <class T>
  static T* row(const attn_view& v, int64_t b, int64_t h, int64_t q) {
    return data<T>(v) + b * v.stride[0] + h * v.stride[1] + q * v.stride[2];
  }
  template <class T>
  static double distance(int64_t n, const T* a, int64_t a_step, const T* b, int64_t b_step) {
    constexpr int64_t kLanes = 16;
    T lanes[kLanes] = {};
    int64_t i = 0;
    if (a_step == 1 && b_step == 1)
      for (; i + kLanes <= n; i += kLanes)
        for (int64_t j = 0; j < kLanes; ++j) {
          const T d = a[i + j] - b[i + j];
          lanes[j] += d * d;
        }
    double sum = 0;
    for (const T lane : lanes) sum += static_cast<double>(lane);
    for (; i < n; ++i) {
      const double d = static_cast<double>(a[i * a_step]) - static_cast<double>(b[i * b_step]);
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
      fail("x %s must be floating, (batch, head, position, size)", shape_text(x).c_str());
    c.out_like(0, x);
  }
  template <class T>
  static void forward(OpCall c) {
    const attn_view &x = *c.in(0), &y = *c.out(0);
    const int64_t heads = x.shape[1], positions = x.shape[2], n = x.shape[3];
    c.loop(x.shape[0] * heads * positions, std::max<int64_t>(1, 16384 / std::max<int64_t>(n, 1)),
           [&](int64_t begin, int64_t end, int32_t) {
             for (int64_t r = begin; r < end; ++r) {
               const int64_t s = r % positions, h = r / positions % heads,
                             b = r / positions / heads;
               const T* from = data<T>(x) + b * x.stride[0] + h * x.stride[1] + s * x.stride[2];
               T* to = data<T>(y) + r * n;
               for (int64_t i = 0; i < n; ++i) to[i] = from[i * x.stride[3]];
             }
           });
  }
};

}  // namespace hopfield
