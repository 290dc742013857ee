// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "core/ops/elementwise.hpp"
#include "core/ops/ops.hpp"

namespace attn::ops {
namespace {

struct square : Unary<square> {
  static constexpr const char* name = "square";
  static constexpr const char* doc = "x^2";
  template <class T>
  static T value(OpCall, T x) {
    return x * x;
  }
  template <class T>
  static T derivative(OpCall, T x) {
    return 2 * x;
  }
};

}  // namespace

const attn_op& op_square() { return operator_table<square>; }

}  // namespace attn::ops
