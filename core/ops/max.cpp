// SPDX-License-Identifier: Apache-2.0
#include "core/ops/ops.hpp"
#include "core/ops/reduction.hpp"

namespace attn::ops {
namespace {

// Place of the largest element; the first of equal ones, the first NaN if there is one.
template <class T>
int64_t first_largest(int64_t n, const T* x) {
  int64_t best = 0;
  for (int64_t i = 1; i < n; ++i)
    if (x[i] > x[best] || (x[i] != x[i] && x[best] == x[best])) best = i;
  return best;
}

struct max : Reduction {
  static constexpr const char* name = "max";
  static constexpr const char* doc =
      "largest element over axes (NaN if there is one); its gradient goes to the first of equals";

  static void shape(OpCall c) {
    result_shape(c);
    refuse_nothing(c, "max");
  }
  template <class T>
  static void forward(OpCall c) {
    const attn_view &x = *c.in(0), y = broadcast_to(wide(c, *c.out(0)), x);
    const Rows<2> rows({&x, &y}, mask(c));
    if (rows.length() == 0) return;
    const Buffers<T> buffers(parallel(c), rows.length());
    rows.each(parallel(c), [&](auto o, int64_t, int worker) {
      const T* row = rows.inner(0).read(data<T>(x) + o[0], buffers.get(worker));
      data<T>(y)[o[1]] = row[first_largest(rows.length(), row)];
    });
  }
  template <class T>
  static void vjp(OpCall c) {
    if (!c.din(0) || !c.dout(0)) return;
    const attn_view &x = *c.in(0), &dx = *c.din(0), g = broadcast_to(wide(c, *c.dout(0)), x);
    const Rows<3> rows({&x, &g, &dx}, mask(c));
    if (rows.length() == 0) return;
    const Buffers<T> buffers(parallel(c), rows.length());
    rows.each(parallel(c), [&](auto o, int64_t, int worker) {
      const T* row = rows.inner(0).read(data<T>(x) + o[0], buffers.get(worker));
      const int64_t best = first_largest(rows.length(), row);
      data<T>(dx)[o[2] + rows.inner(2).offset(best)] += data<T>(g)[o[1]];
    });
  }
};

}  // namespace

const attn_op& op_max() { return operator_table<max>; }

}  // namespace attn::ops
