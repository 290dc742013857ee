// SPDX-License-Identifier: Apache-2.0
#include "core/ops/elementwise.hpp"
#include "core/ops/ops.hpp"

namespace attn::ops {
namespace {

struct div : Binary<div> {
  static constexpr const char* name = "div";
  static constexpr const char* doc = "a / b, shapes broadcast from the last axis on";
  static constexpr kernels::BinaryKind kind = kernels::BinaryKind::div;
  template <class T>
  static T value(T a, T b) {
    return a / b;
  }
  template <class T>
  static T da(T, T b) {
    return 1 / b;
  }
  template <class T>
  static T db(T a, T b) {
    return -a / (b * b);
  }
};

}  // namespace

const attn_op& op_div() { return operator_table<div>; }

}  // namespace attn::ops
