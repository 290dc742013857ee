// SPDX-License-Identifier: Apache-2.0
//
// What the operators of rotary positions share: heads x (B, H, S, D) whose pairs turn by angles that are found by
// position, and turn back in the gradient. [call-thread]
#pragma once

#include "core/kernels/reference/rope.hpp"
#include "core/kernels/rotary.hpp"
#include "core/kernels/table.hpp"
#include "core/ops/check.hpp"
#include "core/ops/ops.hpp"
#include "core/ops/rows.hpp"

namespace attn::ops {

inline void check_rotation(const attn_view& x, int64_t r) {
  if (x.rank != 4) fail("x has shape {}; expected (B, H, S, D)", shape_text(x));
  if (r < 0 || r % 2 != 0 || r > x.shape[3])
    fail("rope_dim is {}; expected an even number from 0 to the head size {}", r, x.shape[3]);
}
inline void check_theta(double theta) {
  if (!(theta > 0)) fail("theta is {}; expected a positive number", theta);
}
inline void check_offset_of_rope(int64_t offset) {
  if (offset < 0 || offset > (int64_t{1} << 52)) fail("offset is {}; expected 0 to 2^52", offset);
}

// Rows of cos and sin, r/2 numbers each, and which of them position s of example b turns by.
template <class T>
struct Angles {
  const T *cos = nullptr, *sin = nullptr;
  int64_t first = 0, per_example = 0;  // without `index`: first + b * per_example + s
  const int64_t* index = nullptr;      // else index[b * index_step + s]
  int64_t index_step = 0;

  [[nodiscard]] int64_t row(int64_t b, int64_t s) const {
    return index ? index[b * index_step + s] : first + b * per_example + s;
  }
};

// Positions first, first + 1, ... for all examples.
template <class T>
Angles<T> consecutive_angles(Parallel& p, const kernels::RopeRule& of_all, int64_t first,
                             int64_t count) {
  if (of_all.r == 0) return {};
  const kernels::RopeRule rule = of_all.of_call(first + count);
  if (of_all.repeats(first + count))
    if (const auto* table = kernels::rotary_table<T>(rule, first + count))
      return {.cos = table->cos, .sin = table->sin, .first = first};
  const int64_t half = rule.r / 2;
  auto* omega = p.scratch_array<double>(static_cast<size_t>(half));
  auto* cos = p.scratch_array<T>(static_cast<size_t>(count * rule.r) + 1);
  T* sin = cos + count * half;
  kernels::rope_frequencies(rule, omega);
  for (int64_t s = 0; s < count; ++s)
    kernels::rotary_angles<T>(rule, omega, first + s, cos + s * half, sin + s * half);
  return {.cos = cos, .sin = sin};
}

// One row, y != x.
template <class T>
void turn(const kernels::RopeRow& row, const T* x, const T* cos, const T* sin, bool back, T* y) {
  if constexpr (sizeof(T) == sizeof(float)) {
    if (use_kernels<T>()) {
      kernels::table().rope_rows(row, 1, x, 0, cos, sin, back ? -1.0f : 1.0f, y, 0);
      return;
    }
  }
  kernels::reference::rope_row<T>(row, x, cos, sin, back, y);
}

// to = turned `from`, or, backwards, to += `from` turned back.
template <class T>
void rotate(const OpCall& c, const attn_view& from, const attn_view& to, kernels::RopeRow row,
            const Angles<T>& angles, bool back) {
  if (size_of(from) == 0) return;
  Parallel& p = parallel(c);
  const int64_t heads = from.shape[1], positions = from.shape[2], half = row.r / 2;
  const Rows<2> rows({&to, &from}, 1u << 3);
  row.n = rows.length();
  const Buffers<T> buffers(p, row.n, 2);
  const RowAxes &out = rows.inner(0), &in = rows.inner(1);
  const bool direct = use_kernels<T>() && !back && out.side_by_side() && in.side_by_side();
  rows.run(p, [&](auto o, int64_t count, auto s, int64_t first, int worker) {
    for (int64_t k = 0, run; k < count; k += run) {
      const int64_t b = (first + k) / positions / heads, m = (first + k) % positions;
      const int64_t at = angles.row(b, m), most = std::min(count - k, positions - m);
      for (run = 1; run < most && angles.row(b, m + run) == at + run;) ++run;
      const T *cos = angles.cos + at * half, *sin = angles.sin + at * half;
      const T* x = data<T>(from) + o[1] + k * s[1];
      T* y = data<T>(to) + o[0] + k * s[0];
      if constexpr (sizeof(T) == sizeof(float)) {
        if (direct) {
          kernels::table().rope_rows(row, run, x, s[1], cos, sin, 1.0f, y, s[0]);
          continue;
        }
      }
      T* turned = buffers.get(worker, 1);
      for (int64_t i = 0; i < run; ++i, x += s[1], y += s[0], cos += half, sin += half) {
        const T* source = in.read(x, buffers.get(worker));
        turn(row, source, cos, sin, back, turned);
        back ? out.add(y, turned) : out.write(y, turned);
      }
    }
  });
}

inline attn_cost rotation_cost(const OpCall& c) {
  const auto n = static_cast<double>(size_of(*c.in(0)));
  return {sizeof(attn_cost), 0, 3 * n, 2 * n * c.element_size()};
}

}  // namespace attn::ops
