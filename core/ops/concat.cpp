// SPDX-License-Identifier: Apache-2.0
#include "core/ops/check.hpp"
#include "core/ops/copying.hpp"
#include "core/ops/ops.hpp"
#include "core/ops/reduce.hpp"

namespace attn::ops {
namespace {

struct concat {
  static constexpr const char* name = "concat";
  static constexpr const char* doc = "joins up to 8 tensors along an axis; absent ones are skipped";
  static constexpr uint32_t version = 1, inputs = 8, outputs = 1, required = 1;
  static constexpr attn_param attributes[] = {int_attribute("axis", 0)};

  static void shape(OpCall c) {
    const attn_view& first = *c.in(0);
    const int axis = check_axis(c.integer(0), first.rank);
    int64_t extents[ATTN_MAX_RANK];
    std::copy(first.shape, first.shape + first.rank, extents);
    for (uint32_t i = 1; i < inputs; ++i) {
      const attn_view* v = c.in(static_cast<int>(i));
      if (!v) continue;
      bool fits = v->rank == first.rank;
      for (int a = 0; fits && a < first.rank; ++a)
        fits = a == axis || v->shape[a] == first.shape[a];
      if (!fits)
        fail("tensor {} has shape {}, the first one {}; expected equal extents but on axis {}", i,
             shape_text(*v), shape_text(first), axis);
      if (v->dtype != first.dtype)
        fail("tensor {} is {}, the first one {}; expected one dtype", i, dtype_name(v->dtype),
             dtype_name(first.dtype));
      extents[axis] += v->shape[axis];
    }
    c.out_shape(0, first.dtype, {extents, static_cast<size_t>(first.rank)});
  }
  template <class T>
  static void forward(OpCall c) {
    each_part(c, *c.out(0),
              [&](int i, const attn_view& part) { copy_elements(parallel(c), *c.in(i), part); });
  }
  template <class T>
  static void vjp(OpCall c) {
    if (!c.dout(0)) return;
    each_part(c, *c.dout(0), [&](int i, const attn_view& part) {
      if (c.din(i)) add_broadcast_gradient<T>(parallel(c), part, *c.din(i), 1);
    });
  }

 private:
  // f(input, the part of `whole` that it fills)
  template <class F>
  static void each_part(OpCall c, const attn_view& whole, F&& f) {
    const int axis = check_axis(c.integer(0), whole.rank);
    int64_t at = 0;
    for (int i = 0; i < static_cast<int>(inputs); ++i) {
      if (!c.in(i)) continue;
      attn_view part = whole;
      part.shape[axis] = c.in(i)->shape[axis];
      part.data = static_cast<char*>(whole.data) +
                  at * whole.stride[axis] * static_cast<int64_t>(element_size(whole.dtype));
      at += part.shape[axis];
      f(i, part);
    }
  }
};

}  // namespace

const attn_op& op_concat() { return operator_table<concat>; }

}  // namespace attn::ops
