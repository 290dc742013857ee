// SPDX-License-Identifier: Apache-2.0
//
// What sum, mean and max share: attributes 0 axes (all when empty), 1 keep_dims; shapes. [any-thread]
#pragma once

#include "core/ops/check.hpp"
#include "core/ops/reduce.hpp"

namespace attn::ops {

struct Reduction {
  static constexpr uint32_t version = 1, inputs = 1, outputs = 1;
  static constexpr attn_param attributes[] = {ints_attribute("axes"),
                                              bool_attribute("keep_dims", false)};

  static uint32_t mask(const OpCall& c) { return check_axes(c.integers(0), c.in(0)->rank, true); }
  // Elements that go into one result.
  static int64_t length(const OpCall& c) {
    int64_t n = 1;
    for (int a = 0; a < c.in(0)->rank; ++a)
      if (mask(c) >> a & 1u) n *= c.in(0)->shape[a];
    return n;
  }
  static void result_shape(const OpCall& c) {
    check_number(c, 0, "x");
    const attn_view& x = *c.in(0);
    int64_t extents[ATTN_MAX_RANK];
    size_t rank = 0;
    for (int a = 0; a < x.rank; ++a) {
      if (!(mask(c) >> a & 1u))
        extents[rank++] = x.shape[a];
      else if (c.flag(1))
        extents[rank++] = 1;
    }
    c.out_shape(0, x.dtype, {extents, rank});
  }
  static void refuse_nothing(const OpCall& c, const char* what) {
    if (length(c) == 0 && size_of(*c.out(0)) != 0)
      fail("{} of no elements: x has shape {}; expected extents above 0 on the axes", what,
           shape_text(*c.in(0)));
  }
  // A result with the rank of x: stride 0 along the axes that were summed.
  static attn_view wide(const OpCall& c, const attn_view& result) {
    attn_view w = result;
    w.rank = c.in(0)->rank;
    int from = 0;
    for (int a = 0; a < w.rank; ++a) {
      const bool gone = mask(c) >> a & 1u;
      w.shape[a] = gone ? 1 : c.in(0)->shape[a];
      w.stride[a] = gone ? 0 : result.stride[from];
      from += !gone || c.flag(1) ? 1 : 0;
    }
    return w;
  }
  template <class T>
  static void spread(const OpCall& c, double factor) {
    if (!c.din(0) || !c.dout(0)) return;
    const attn_view g = broadcast_to(wide(c, *c.dout(0)), *c.in(0));
    add_broadcast_gradient<T>(parallel(c), g, *c.din(0), factor);
  }
  static attn_cost cost(OpCall c) {
    const auto n = static_cast<double>(size_of(*c.in(0)));
    return {sizeof(attn_cost), 0, n, n * c.element_size()};
  }
};

}  // namespace attn::ops
