// SPDX-License-Identifier: Apache-2.0
#include "core/ops/elementwise.hpp"
#include "core/ops/ops.hpp"

namespace attn::ops {
namespace {

struct sub : Binary<sub> {
  static constexpr const char* name = "sub";
  static constexpr const char* doc = "a - b, shapes broadcast from the last axis on";
  static constexpr kernels::BinaryKind kind = kernels::BinaryKind::sub;
  template <class T>
  static T value(T a, T b) {
    return a - b;
  }
  static constexpr double da_constant = 1, db_constant = -1;
};

}  // namespace

const attn_op& op_sub() { return operator_table<sub>; }

}  // namespace attn::ops
