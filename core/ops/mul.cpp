// SPDX-License-Identifier: Apache-2.0
#include "core/ops/elementwise.hpp"
#include "core/ops/ops.hpp"

namespace attn::ops {
namespace {

struct mul : Binary<mul> {
  static constexpr const char* name = "mul";
  static constexpr const char* doc =
      "a b element by element, shapes broadcast from the last axis on";
  static constexpr kernels::BinaryKind kind = kernels::BinaryKind::mul;
  template <class T>
  static T value(T a, T b) {
    return a * b;
  }
  template <class T>
  static T da(T, T b) {
    return b;
  }
  template <class T>
  static T db(T a, T) {
    return a;
  }
};

}  // namespace

const attn_op& op_mul() { return operator_table<mul>; }

}  // namespace attn::ops
