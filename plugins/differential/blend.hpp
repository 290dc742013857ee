// SPDX-License-Identifier: Apache-2.0
//
// y = a - lambda b: what two attention maps agree on is taken away (Ye et al. 2024, eq. 1), with
// lambda = clip(factor * parameter, 0.1, 0.9). a, b, y: any one shape, any strides; parameter: one
// element, which gets a gradient only while the product lies inside the bounds.
#pragma once

#include <attn/sdk/plugin.hpp>
#include <attn/sdk/strided.hpp>

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
      fail("a, b and parameter must have one dtype, float32 or float64");
    bool same = a.rank == b.rank;
    for (int i = 0; same && i < a.rank; ++i) same = a.shape[i] == b.shape[i];
    if (!same) fail("a {} and b {} must have one shape", shape_text(a), shape_text(b));
    if (size_of(parameter) != 1)
      fail("parameter has shape {}; expected one element", shape_text(parameter));
    c.out_like(0, a);
  }

  template <class T>
  static void forward(OpCall c) {
    const T lambda = static_cast<T>(std::clamp(product<T>(c), kLowest, kHighest));
    StridedRows<3>({c.out(0), c.in(0), c.in(1)}).each<T>(c, [&](T& y, T a, T b) {
      y = a - lambda * b;
    });
  }

  // da = dy, db = -lambda dy, dparameter = -factor sum(dy b) inside the bounds.
  template <class T>
  static void vjp(OpCall c) {
    if (!c.dout(0)) return;
    const double x = product<T>(c);
    const T lambda = static_cast<T>(std::clamp(x, kLowest, kHighest));
    const auto add = [&](const attn_view* to, T factor) {
      if (!to) return;
      StridedRows<2>({to, c.dout(0)}).each<T>(c, [&](T& d, T dy) { d += factor * dy; });
    };
    add(c.din(0), T(1));
    add(c.din(1), -lambda);
    if (!c.din(2) || x < kLowest || x > kHighest) return;
    const double sum = StridedRows<2>({c.dout(0), c.in(1)}).sum<T>(c, [](T dy, T b) {
      return static_cast<double>(dy) * static_cast<double>(b);
    });
    *data<T>(*c.din(2)) -= static_cast<T>(c.real(0) * sum);
  }

  static attn_cost cost(OpCall c) {
    const auto n = static_cast<double>(size_of(*c.in(0)));
    return {sizeof(attn_cost), 0, 2 * n, 3 * n * c.element_size()};
  }

 private:
  template <class T>
  static double product(const OpCall& c) {
    return c.real(0) * static_cast<double>(*data<T>(*c.in(2)));
  }
};

}  // namespace differential
