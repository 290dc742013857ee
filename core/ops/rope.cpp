// SPDX-License-Identifier: Apache-2.0
#include "core/kernels/rope.hpp"

#include "core/kernels/reference/rope.hpp"
#include "core/kernels/table.hpp"
#include "core/ops/check.hpp"
#include "core/ops/ops.hpp"
#include "core/ops/rows.hpp"

namespace attn::ops {
namespace {

struct rope {
  static constexpr const char* name = "rope";
  static constexpr const char* doc =
      "rotary position embedding of x (B, H, S, D): the first rope_dim components of each head";
  static constexpr uint32_t version = 1, inputs = 1, outputs = 1;
  static constexpr attn_param attributes[] = {
      real_attribute("theta", 10000.0), int_attribute("rope_dim", 0), int_attribute("offset", 0)};

  static void shape(OpCall c) {
    check_number(c, 0, "x");
    const attn_view& x = *c.in(0);
    const int64_t r = c.integer(1);
    if (x.rank != 4) fail("x has shape {}; expected (B, H, S, D)", shape_text(x));
    if (r < 0 || r % 2 != 0 || r > x.shape[3])
      fail("rope_dim is {}; expected an even number from 0 to the head size {}", r, x.shape[3]);
    if (r > 0 && !(c.real(0) > 0)) fail("theta is {}; expected a positive number", c.real(0));
    if (c.integer(2) < 0 || c.integer(2) > (int64_t{1} << 52))
      fail("offset is {}; expected 0 to 2^52", c.integer(2));
    c.out_like(0, x);
  }
  template <class T>
  static void forward(OpCall c) {
    rotate<T>(c, *c.in(0), *c.out(0), false);
  }
  template <class T>
  static void vjp(OpCall c) {
    if (c.din(0) && c.dout(0)) rotate<T>(c, *c.dout(0), *c.din(0), true);
  }
  static attn_cost cost(OpCall c) {
    const auto n = static_cast<double>(size_of(*c.in(0)));
    return {sizeof(attn_cost), 0, 3 * n, 2 * n * c.element_size()};
  }

 private:
  // to = turned `from`, or, backwards, to += `from` turned back.
  template <class T>
  static void rotate(const OpCall& c, const attn_view& from, const attn_view& to, bool back) {
    Parallel& p = parallel(c);
    const int64_t r = c.integer(1), offset = c.integer(2), positions = from.shape[2];
    if (size_of(from) == 0) return;
    const T *cos = nullptr, *sin = nullptr;  // of position `offset`
    if (r > 0) angles(p, c.real(0), r, offset, positions, cos, sin);
    const Rows<2> rows({&to, &from}, 1u << 3);
    const int64_t n = rows.length();
    const Buffers<T> buffers(p, n, 2);
    const RowAxes &out = rows.inner(0), &in = rows.inner(1);
    const bool fast = use_kernels<T>() && !back && out.side_by_side() && in.side_by_side();
    rows.run(p, [&](auto o, int64_t count, auto s, int64_t first, int worker) {
      for (int64_t k = 0; k < count;) {
        const int64_t m = (first + k) % positions, run = std::min(count - k, positions - m);
        const T *cm = cos + m * (r / 2), *sm = sin + m * (r / 2);
        if constexpr (sizeof(T) == sizeof(float)) {
          if (fast) {
            kernels::table().rope_rows(run, n, r, data<T>(from) + o[1] + k * s[1], s[1], cm, sm,
                                       1.0f, data<T>(to) + o[0] + k * s[0], s[0]);
            k += run;
            continue;
          }
        }
        const T* x = in.read(data<T>(from) + o[1] + k * s[1], buffers.get(worker));
        T* target = data<T>(to) + o[0] + k * s[0];
        T* turned = buffers.get(worker, 1);
        kernels::reference::rope_row<T>(n, r, x, cm, sm, back, turned);
        if (back)
          out.add(target, turned);
        else
          out.write(target, turned);
        ++k;
      }
    });
  }
  template <class T>
  static void angles(Parallel& p, double theta, int64_t r, int64_t offset, int64_t positions,
                     const T*& cos, const T*& sin) {
    if (const auto* table = kernels::rope_table<T>(theta, r, offset + positions)) {
      cos = table->cos + offset * (r / 2);
      sin = table->sin + offset * (r / 2);
      return;
    }
    T* numbers = p.scratch_array<T>(static_cast<size_t>(positions * r));
    kernels::rope_angles<T>(theta, r, offset, positions, numbers, numbers + positions * (r / 2));
    cos = numbers;
    sin = numbers + positions * (r / 2);
  }
};

}  // namespace

const attn_op& op_rope() { return operator_table<rope>; }

}  // namespace attn::ops
