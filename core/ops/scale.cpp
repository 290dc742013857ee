// SPDX-License-Identifier: Apache-2.0
#include "core/ops/elementwise.hpp"
#include "core/ops/ops.hpp"

namespace attn::ops {
namespace {

struct scale : Unary<scale> {
  static constexpr const char* name = "scale";
  static constexpr const char* doc = "x * factor + shift";
  static constexpr attn_param attributes[] = {real_attribute("factor", 1.0),
                                              real_attribute("shift", 0.0)};
  template <class T>
  static T value(OpCall c, T x) {
    return x * static_cast<T>(c.real(0)) + static_cast<T>(c.real(1));
  }
  template <class T>
  static T derivative(OpCall c, T) {
    return static_cast<T>(c.real(0));
  }
};

}  // namespace

const attn_op& op_scale() { return operator_table<scale>; }

}  // namespace attn::ops
