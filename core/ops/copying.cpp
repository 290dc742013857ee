// SPDX-License-Identifier: Apache-2.0
#include "core/ops/copying.hpp"

#include <cstring>

#include "core/kernels/table.hpp"

namespace attn::ops {
namespace {

constexpr int64_t kTile = 32;  // a tile of 8-byte elements and its transpose fit in L1

template <class E>
void copy_lines(Parallel& p, const attn_view& from, const attn_view& to) {
  Grid<2>::of({&to, &from}).run(p, kElementGrain, [&](auto o, int64_t n, auto s, int64_t, int) {
    E* y = data<E>(to) + o[0];
    const E* x = data<E>(from) + o[1];
    if (s[0] == 1 && s[1] == 1) {
      if (n >= 16) {
        std::memcpy(y, x, static_cast<size_t>(n) * sizeof(E));
      } else {
        for (int64_t i = 0; i < n; ++i) y[i] = x[i];
      }
    } else {
      for (int64_t i = 0; i < n; ++i) y[i * s[0]] = x[i * s[1]];
    }
  });
}

// `to` runs along axis b, `from` along axis a: tiles of both, so that whole cache lines are used.
template <class E>
void transpose_tiles(Parallel& p, const attn_view& from, const attn_view& to, int a, int b) {
  Grid<2> rest;
  for (int axis = 0; axis < to.rank; ++axis)
    if (axis != a && axis != b) rest.push(to.shape[axis], {to.stride[axis], from.stride[axis]});
  const int64_t rows = to.shape[a], columns = to.shape[b];
  const int64_t y_row = to.stride[a], x_row = from.stride[b];
  const int64_t row_tiles = (rows + kTile - 1) / kTile;
  const auto kernel = sizeof(E) == 4 && cpu::level() != cpu::Level::reference
                          ? kernels::table().transpose
                          : nullptr;
  p.loop(rest.size() * row_tiles, std::max<int64_t>(1, kElementGrain / (kTile * columns)),
         [&](int64_t begin, int64_t end, int) {
           for (int64_t k = begin; k < end; ++k) {
             const auto o = rest.offsets(k / row_tiles);
             const int64_t r0 = k % row_tiles * kTile, r1 = std::min(rows, r0 + kTile);
             for (int64_t c0 = 0; c0 < columns; c0 += kTile) {
               const int64_t c1 = std::min(columns, c0 + kTile);
               E* y = data<E>(to) + o[0] + r0 * y_row + c0;
               const E* x = data<E>(from) + o[1] + c0 * x_row + r0;
               if (kernel) {
                 kernel(c1 - c0, r1 - r0, reinterpret_cast<const float*>(x), x_row,
                        reinterpret_cast<float*>(y), y_row);
                 continue;
               }
               for (int64_t r = 0; r < r1 - r0; ++r)
                 for (int64_t c = 0; c < c1 - c0; ++c) y[r * y_row + c] = x[c * x_row + r];
             }
           }
         });
}

template <class E>
void copy_as(Parallel& p, const attn_view& from, const attn_view& to) {
  int a = -1, b = -1;
  for (int axis = 0; axis < to.rank; ++axis) {
    if (to.shape[axis] < 4) continue;
    if (from.stride[axis] == 1) a = axis;
    if (to.stride[axis] == 1) b = axis;
  }
  if (a >= 0 && b >= 0 && a != b)
    transpose_tiles<E>(p, from, to, a, b);
  else
    copy_lines<E>(p, from, to);
}

}  // namespace

void copy_elements(Parallel& p, const attn_view& from, const attn_view& to) {
  if (size_of(to) == 0) return;
  switch (element_size(to.dtype)) {
    case 8:
      copy_as<uint64_t>(p, from, to);
      break;
    case 4:
      copy_as<uint32_t>(p, from, to);
      break;
    case 2:
      copy_as<uint16_t>(p, from, to);
      break;
    default:
      copy_as<uint8_t>(p, from, to);
      break;
  }
}

}  // namespace attn::ops
