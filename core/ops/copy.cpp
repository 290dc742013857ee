// SPDX-License-Identifier: Apache-2.0
#include "core/ops/copying.hpp"
#include "core/ops/ops.hpp"
#include "core/ops/reduce.hpp"

namespace attn::ops {
namespace {

struct copy {
  static constexpr const char* name = "copy";
  static constexpr const char* doc = "the same elements in row-major memory, whatever the strides";
  static constexpr uint32_t version = 1, inputs = 1, outputs = 1;

  static void shape(OpCall c) { c.out_like(0, *c.in(0)); }
  template <class T>
  static void forward(OpCall c) {
    copy_elements(parallel(c), *c.in(0), *c.out(0));
  }
  template <class T>
  static void vjp(OpCall c) {
    if (c.din(0) && c.dout(0)) add_broadcast_gradient<T>(parallel(c), *c.dout(0), *c.din(0), 1);
  }
  static attn_cost cost(OpCall c) {
    return {sizeof(attn_cost), 0, 0,
            2 * static_cast<double>(size_of(*c.in(0))) *
                static_cast<double>(element_size(c.in(0)->dtype))};
  }
};

}  // namespace

const attn_op& op_copy() { return operator_table<copy>; }

}  // namespace attn::ops
