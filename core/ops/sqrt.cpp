// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "core/ops/elementwise.hpp"
#include "core/ops/ops.hpp"

namespace attn::ops {
namespace {

struct sqrt : Unary<sqrt> {
  static constexpr const char* name = "sqrt";
  static constexpr const char* doc = "square root; infinite slope at 0";
  template <class T>
  static T value(OpCall, T x) {
    return std::sqrt(x);
  }
  template <class T>
  static T derivative(OpCall, T x) {
    return T(0.5) / std::sqrt(x);
  }
};

}  // namespace

const attn_op& op_sqrt() { return operator_table<sqrt>; }

}  // namespace attn::ops
