// SPDX-License-Identifier: Apache-2.0
#include "core/ops/ops.hpp"
#include "core/ops/reduction.hpp"

namespace attn::ops {
namespace {

struct sum : Reduction {
  static constexpr const char* name = "sum";
  static constexpr const char* doc = "sum over axes; 0 of no elements";

  static void shape(OpCall c) { result_shape(c); }
  template <class T>
  static void forward(OpCall c) {
    reduce_add<T>(parallel(c), *c.in(0), mask(c), wide(c, *c.out(0)), 1, false);
  }
  template <class T>
  static void vjp(OpCall c) {
    spread<T>(c, 1);
  }
};

}  // namespace

const attn_op& op_sum() { return operator_table<sum>; }

}  // namespace attn::ops
