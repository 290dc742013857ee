// SPDX-License-Identifier: Apache-2.0
//
// Rotary positions as the first plugins call them; rotary_embedding.cpp is the operator that has all forms.
#include "core/ops/rotate.hpp"

namespace attn::ops {
namespace {

struct rope {
  static constexpr const char* name = "rope";
  static constexpr const char* doc =
      "rotary position embedding of x (B, H, S, D): the first rope_dim components of each head, "
      "interleaved";
  static constexpr uint32_t version = 1, inputs = 1, outputs = 1;
  static constexpr attn_param attributes[] = {
      real_attribute("theta", 10000.0), int_attribute("rope_dim", 0), int_attribute("offset", 0)};

  static void shape(OpCall c) {
    check_number(c, 0, "x");
    check_rotation(*c.in(0), c.integer(1));
    if (c.integer(1) > 0) check_theta(c.real(0));
    check_offset_of_rope(c.integer(2));
    c.out_like(0, *c.in(0));
  }
  template <class T>
  static void forward(OpCall c) {
    turn_all<T>(c, *c.in(0), *c.out(0), false);
  }
  template <class T>
  static void vjp(OpCall c) {
    if (c.din(0) && c.dout(0)) turn_all<T>(c, *c.dout(0), *c.din(0), true);
  }
  static attn_cost cost(OpCall c) { return rotation_cost(c); }

 private:
  template <class T>
  static void turn_all(const OpCall& c, const attn_view& from, const attn_view& to, bool back) {
    const int64_t r = c.integer(1);
    const auto angles = consecutive_angles<T>(parallel(c), {.theta = c.real(0), .r = r},
                                              c.integer(2), from.shape[2]);
    rotate<T>(c, from, to, {.n = 0, .first = 0, .r = r, .interleaved = true}, angles, back);
  }
};

}  // namespace

const attn_op& op_rope() { return operator_table<rope>; }

}  // namespace attn::ops
