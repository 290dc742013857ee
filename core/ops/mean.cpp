// SPDX-License-Identifier: Apache-2.0
#include "core/ops/ops.hpp"
#include "core/ops/reduction.hpp"

namespace attn::ops {
namespace {

struct mean : Reduction {
  static constexpr const char* name = "mean";
  static constexpr const char* doc = "mean over axes";

  static void shape(OpCall c) {
    result_shape(c);
    refuse_nothing(c, "mean");
  }
  template <class T>
  static void forward(OpCall c) {
    reduce_add<T>(parallel(c), *c.in(0), mask(c), wide(c, *c.out(0)), factor(c), false);
  }
  template <class T>
  static void vjp(OpCall c) {
    spread<T>(c, factor(c));
  }

 private:
  static double factor(const OpCall& c) { return 1 / static_cast<double>(length(c)); }
};

}  // namespace

const attn_op& op_mean() { return operator_table<mean>; }

}  // namespace attn::ops
