// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "core/ops/elementwise.hpp"
#include "core/ops/ops.hpp"

namespace attn::ops {
namespace {

struct log : Unary<log> {
  static constexpr const char* name = "log";
  static constexpr const char* doc = "natural logarithm";
  template <class T>
  static T value(OpCall, T x) {
    return std::log(x);
  }
  template <class T>
  static T derivative(OpCall, T x) {
    return 1 / x;
  }
};

}  // namespace

const attn_op& op_log() { return operator_table<log>; }

}  // namespace attn::ops
