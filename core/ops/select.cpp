// SPDX-License-Identifier: Apache-2.0
#include "core/ops/check.hpp"
#include "core/ops/keep.hpp"
#include "core/ops/ops.hpp"
#include "core/ops/reduce.hpp"

namespace attn::ops {
namespace {

constexpr int64_t kPiece = 4096;  // elements whose conditions are read at once

struct select {
  static constexpr const char* name = "select";
  static constexpr const char* doc = "condition > 0 ? a : b; all three broadcast";
  static constexpr uint32_t version = 1, inputs = 3, outputs = 1, constants = 1;

  static void shape(OpCall c) {
    const attn_view &a = *c.in(1), &b = *c.in(2);
    if (a.dtype != ATTN_F32 && a.dtype != ATTN_F64)
      fail("a has element kind {}; expected float32 or float64 (convert it first)",
           dtype_name(a.dtype));
    if (a.dtype != b.dtype)
      fail("a is {} and b is {}; expected one dtype", dtype_name(a.dtype), dtype_name(b.dtype));
    attn_view both = a;
    both.rank = broadcast_shape(a, b, both.shape);
    int64_t extents[ATTN_MAX_RANK];
    const int rank = broadcast_shape(*c.in(0), both, extents);
    c.out_shape(0, a.dtype, {extents, static_cast<size_t>(rank)});
  }
  // The condition may be a floating tensor of another kind, so that a decides what T is.
  template <class>
  static void forward(OpCall c) {
    if (c.in(1)->dtype == ATTN_F64)
      forward_in<double>(c);
    else
      forward_in<float>(c);
  }
  template <class>
  static void vjp(OpCall c) {
    if (!c.dout(0)) return;
    for (const int side : {1, 2}) {
      if (!c.din(side)) continue;
      if (c.in(1)->dtype == ATTN_F64)
        vjp_in<double>(c, side);
      else
        vjp_in<float>(c, side);
    }
  }

 private:
  template <class T>
  static void forward_in(OpCall c) {
    const attn_view& y = *c.out(0);
    const attn_view when = broadcast_to(*c.in(0), y), a = broadcast_to(*c.in(1), y),
                    b = broadcast_to(*c.in(2), y);
    Grid<4>::of({&y, &when, &a, &b})
        .run(parallel(c), kPiece, [&](auto o, int64_t n, auto s, int64_t, int) {
          uint8_t kept[kPiece];
          read_mask(when, o[1], s[1], n, kept);
          const T* p = data<T>(a) + o[2];
          const T* q = data<T>(b) + o[3];
          for (int64_t i = 0; i < n; ++i)
            data<T>(y)[o[0] + i * s[0]] = kept[i] ? p[i * s[2]] : q[i * s[3]];
        });
  }
  template <class T>
  static void vjp_in(OpCall c, int side) {
    const attn_view &g = *c.dout(0), &din = *c.din(side);
    const attn_view when = broadcast_to(*c.in(0), g);
    const attn_view part =
        dense_like(g, parallel(c).scratch_array<T>(static_cast<size_t>(size_of(g)) + 1));
    Grid<3>::of({&part, &when, &g})
        .run(parallel(c), kPiece, [&](auto o, int64_t n, auto s, int64_t, int) {
          uint8_t kept[kPiece];
          read_mask(when, o[1], s[1], n, kept);
          const T* dy = data<T>(g) + o[2];
          for (int64_t i = 0; i < n; ++i)
            data<T>(part)[o[0] + i * s[0]] = (kept[i] != 0) == (side == 1) ? dy[i * s[2]] : T(0);
        });
    add_broadcast_gradient<T>(parallel(c), part, din, 1);
  }
};

}  // namespace

const attn_op& op_select() { return operator_table<select>; }

}  // namespace attn::ops
