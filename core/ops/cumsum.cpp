// SPDX-License-Identifier: Apache-2.0
//
// Running sums along one axis, the same for any number of threads: y[i] = x[0] + ... + x[i], added up in double. A NaN,
// or infinities of both signs, make NaN of all that follows, as in numpy.
#include "core/ops/check.hpp"
#include "core/ops/grid.hpp"
#include "core/ops/ops.hpp"

namespace attn::ops {
namespace {

struct cumsum {
  static constexpr const char *name = "cumsum", *doc = "running sums along an axis";
  static constexpr uint32_t version = 1, inputs = 1, outputs = 1;
  static constexpr attn_param attributes[] = {int_attribute("axis", -1)};

  static void shape(OpCall c) {
    check_number(c, 0, "x");
    (void)check_axis(c.integer(0), c.in(0)->rank);
    c.out_like(0, *c.in(0));
  }
  template <class T>
  static void forward(OpCall c) {
    run<T>(c, *c.in(0), *c.out(0), false);
  }
  // The sums of dout from the other end.
  template <class T>
  static void vjp(OpCall c) {
    if (c.din(0) && c.dout(0)) run<T>(c, *c.dout(0), *c.din(0), true);
  }
  static attn_cost cost(OpCall c) {
    const auto n = static_cast<double>(size_of(*c.in(0)));
    return {sizeof(attn_cost), 0, n, 2 * n * c.element_size()};
  }

 private:
  // to = sums of `from`, or, of a gradient, to += sums from the last element on.
  template <class T>
  static void run(OpCall c, const attn_view& from, const attn_view& to, bool gradient) {
    constexpr int64_t kLine = 64 / sizeof(T);  // sums side by side: a line of cache
    const int axis = check_axis(c.integer(0), from.rank);
    const int64_t n = from.shape[axis];
    if (size_of(from) == 0) return;
    const int64_t first = gradient ? n - 1 : 0, step = gradient ? -1 : 1;
    Grid<2> others;
    for (int a = 0; a < from.rank; ++a)
      if (a != axis) others.push(from.shape[a], {from.stride[a], to.stride[a]});
    const int64_t grain = std::max(kLine, kElementGrain / n);
    others.run(parallel(c), grain, [&](auto o, int64_t count, auto s, int64_t, int) {
      for (int64_t begin = 0; begin < count; begin += kLine) {
        const int64_t width = std::min(kLine, count - begin);
        const T* x = data<T>(from) + o[0] + begin * s[0] + first * from.stride[axis];
        T* y = data<T>(to) + o[1] + begin * s[1] + first * to.stride[axis];
        double sums[kLine] = {};
        for (int64_t i = 0; i < n; ++i, x += step * from.stride[axis], y += step * to.stride[axis])
          for (int64_t k = 0; k < width; ++k) {
            sums[k] += static_cast<double>(x[k * s[0]]);
            T& out = y[k * s[1]];
            out = gradient ? out + static_cast<T>(sums[k]) : static_cast<T>(sums[k]);
          }
      }
    });
  }
};

}  // namespace

const attn_op& op_cumsum() { return operator_table<cumsum>; }

}  // namespace attn::ops
