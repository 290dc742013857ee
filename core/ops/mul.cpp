// SPDX-License-Identifier: Apache-2.0
//
// Two factors, or three in one pass: memory is what a product of large maps waits for.
#include "core/ops/elementwise.hpp"
#include "core/ops/ops.hpp"

namespace attn::ops {
namespace {

struct mul : Binary<mul> {
  static constexpr const char* name = "mul";
  static constexpr const char* doc =
      "a b, or a b c, element by element, shapes broadcast from the last axis on";
  static constexpr uint32_t inputs = 3, required = 0b011;
  static constexpr kernels::BinaryKind kind = kernels::BinaryKind::mul;
  template <class T>
  static T value(T a, T b) {
    return a * b;
  }

  static void shape(OpCall c) {
    Binary<mul>::shape(c);
    if (!c.in(2)) return;
    check_number(c, 2, "c");
    int64_t extents[ATTN_MAX_RANK];
    const int rank = broadcast_shape(c.raw().out[0]->view, *c.in(2), extents);
    c.out_shape(0, c.dtype(), {extents, static_cast<size_t>(rank)});
  }

  template <class T>
  static void forward(OpCall c) {
    if (!c.in(2)) return Binary<mul>::forward<T>(c);
    const attn_view& out = *c.out(0);
    const attn_view x = broadcast_to(*c.in(0), out), y = broadcast_to(*c.in(1), out),
                    z = broadcast_to(*c.in(2), out);
    Parallel& p = parallel(c);
    const auto fast = fast_line<T>();
    const Buffers<T> buffers(p, kElementGrain);
    Grid<4>::of({&out, &x, &y, &z})
        .run(p, kElementGrain, [&](auto o, int64_t n, auto s, int64_t, int worker) {
          T* first = buffers.get(worker);
          line(fast, n, data<T>(x) + o[1], s[1], data<T>(y) + o[2], s[2], first, 1);
          line(fast, n, first, 1, data<T>(z) + o[3], s[3], data<T>(out) + o[0], s[0]);
        });
  }

  // Of each factor: dout times the others, summed where it was broadcast.
  template <class T>
  static void vjp(OpCall c) {
    if (!c.dout(0)) return;
    const attn_view& g = *c.dout(0);
    for (int i = 0; i < 3; ++i) {
      if (!c.din(i)) continue;
      const attn_view a = broadcast_to(*c.in(i == 0 ? 1 : 0), g);
      if (c.in(2))
        add_broadcast_gradient<T>(parallel(c), {g, a, broadcast_to(*c.in(i == 2 ? 1 : 2), g)},
                                  *c.din(i), 1);
      else
        add_broadcast_gradient<T>(parallel(c), {g, a}, *c.din(i), 1);
    }
  }
};

}  // namespace

const attn_op& op_mul() { return operator_table<mul>; }

}  // namespace attn::ops
