// SPDX-License-Identifier: Apache-2.0
#include "core/ops/elementwise.hpp"
#include "core/ops/ops.hpp"

namespace attn::ops {
namespace {

struct add : Binary<add> {
  static constexpr const char* name = "add";
  static constexpr const char* doc = "a + b, shapes broadcast from the last axis on";
  static constexpr kernels::BinaryKind kind = kernels::BinaryKind::add;
  template <class T>
  static T value(T a, T b) {
    return a + b;
  }
  static constexpr double da_constant = 1, db_constant = 1;
};

}  // namespace

const attn_op& op_add() { return operator_table<add>; }

}  // namespace attn::ops
