// SPDX-License-Identifier: Apache-2.0
#include "core/kernels/dropout.hpp"

#include "core/ops/check.hpp"
#include "core/ops/grid.hpp"
#include "core/ops/ops.hpp"

namespace attn::ops {
namespace {

constexpr int64_t kPiece = 4096;  // elements whose factors are drawn at once

struct dropout {
  static constexpr const char* name = "dropout";
  static constexpr const char* doc = "zero with probability rate, else x / (1 - rate)";
  static constexpr uint32_t version = 1, inputs = 1, outputs = 1, flags = ATTN_OP_RANDOM;
  static constexpr attn_param attributes[] = {real_attribute("rate", 0.0)};

  static void shape(OpCall c) {
    check_number(c, 0, "x");
    if (!(c.real(0) >= 0 && c.real(0) <= 1)) fail("rate is {}; expected 0 to 1", c.real(0));
    c.out_like(0, *c.in(0));
  }
  template <class T>
  static void forward(OpCall c) {
    multiply<T>(c, *c.in(0), *c.out(0), false);
  }
  template <class T>
  static void vjp(OpCall c) {
    if (c.din(0) && c.dout(0)) multiply<T>(c, *c.dout(0), *c.din(0), true);
  }

 private:
  template <class T>
  static void multiply(OpCall c, const attn_view& from, const attn_view& to, bool add) {
    const kernels::Dropout factors(c.real(0), c.seed(), c.stream());
    Grid<2>::of({&to, &from})
        .run(parallel(c), kPiece, [&](auto o, int64_t n, auto s, int64_t first, int) {
          T f[kPiece];
          factors.factors(first, n, f);
          T* y = data<T>(to) + o[0];
          const T* x = data<T>(from) + o[1];
          // A dropped element is 0 whatever it was, NaN included.
          for (int64_t i = 0; i < n; ++i) {
            const T v = f[i] == 0 ? T(0) : x[i * s[1]] * f[i];
            y[i * s[0]] = add ? y[i * s[0]] + v : v;
          }
        });
  }
};

}  // namespace

const attn_op& op_dropout() { return operator_table<dropout>; }

}  // namespace attn::ops
