// SPDX-License-Identifier: Apache-2.0
#include "core/ops/elementwise.hpp"
#include "core/ops/ops.hpp"

namespace attn::ops {
namespace {

struct maximum : Binary<maximum> {
  static constexpr const char* name = "maximum";
  static constexpr const char* doc =
      "the larger of a and b (NaN when either is), shapes broadcast from the last axis on; a tie's "
      "gradient goes to a";
  static constexpr kernels::BinaryKind kind = kernels::BinaryKind::maximum;
  template <class T>
  static T value(T a, T b) {
    return a >= b || a != a ? a : b;
  }
  template <class T>
  static T da(T a, T b) {
    return a >= b || a != a ? T(1) : T(0);
  }
  template <class T>
  static T db(T a, T b) {
    return a >= b || a != a ? T(0) : T(1);
  }
};

}  // namespace

const attn_op& op_maximum() { return operator_table<maximum>; }

}  // namespace attn::ops
