// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "core/ops/elementwise.hpp"
#include "core/ops/ops.hpp"

namespace attn::ops {
namespace {

struct exp : Unary<exp> {
  static constexpr const char* name = "exp";
  static constexpr const char* doc = "e^x";
  template <class T>
  static T value(OpCall, T x) {
    return std::exp(x);
  }
  template <class T>
  static T derivative(OpCall, T x) {
    return std::exp(x);
  }
};

}  // namespace

const attn_op& op_exp() { return operator_table<exp>; }

}  // namespace attn::ops
