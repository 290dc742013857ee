// SPDX-License-Identifier: Apache-2.0
//
// Kernels of compact.hpp. Few rows: a panel is read once from end to end, numbers are widened in registers, and the sum
// of each group is multiplied with its scale, so that int8 costs no product of its own. Columns are taken as many at a
// time as give 8 sums or more: one chain of additions for every vector of a single row would wait for each addition.
#pragma once

#include "core/kernels/compact.hpp"
#include "core/kernels/micro.inl.hpp"

namespace attn::kernels::simd {

// W numbers from memory.
template <class Arch, StorageKind K>
ATTN_INLINE Vec<Arch> widened(const char* p) {
  if constexpr (K == StorageKind::bfloat16) {
    return Isa<Arch>::from_bfloat16(reinterpret_cast<const int16_t*>(p));
  } else if constexpr (K == StorageKind::float16) {
    return Isa<Arch>::from_float16(reinterpret_cast<const int16_t*>(p));
  } else if constexpr (K == StorageKind::float32) {
    return load<Arch>(reinterpret_cast<const float*>(p));
  } else {
    return Isa<Arch>::from_int8(reinterpret_cast<const int8_t*>(p));
  }
}

template <StorageKind K>
struct Kind {
  static constexpr StorageKind value = K;
};
template <class F>
ATTN_INLINE void with_kind(StorageKind kind, F&& f) {
  switch (kind) {
    case StorageKind::bfloat16:
      f(Kind<StorageKind::bfloat16>{});
      break;
    case StorageKind::float16:
      f(Kind<StorageKind::float16>{});
      break;
    default:
      f(Kind<StorageKind::int8>{});
      break;
  }
}

// A group of rows of a panel.
struct CompactGroup {
  const char* b;
  const float* scales;  // nullptr: none
  int64_t rows, width;
};

// total[i][first + j] += sum over the group, for MR rows of A and NV vectors.
template <class Arch, StorageKind K, int MR, int NV>
ATTN_INLINE void compact_tile(const CompactGroup& g, const float* a, int64_t a_row, int64_t a_col,
                              int64_t first, float* total) {
  using V = Vec<Arch>;
  constexpr int64_t W = kWidth<Arch>, E = K == StorageKind::int8 ? 1 : 2;
  constexpr int64_t kNext =
      2048;  // bytes ahead of what is read: the hardware stops at the end of a page
  V acc[MR][NV];
  ATTN_UNROLL
  for (int i = 0; i < MR; ++i) {
    ATTN_UNROLL
    for (int j = 0; j < NV; ++j) acc[i][j] = V(0.0f);
  }
  const char* b = g.b + first * E;
  for (int64_t p = 0; p < g.rows; ++p) {
    ATTN_UNROLL
    for (int64_t next = 0; next < NV * W * E; next += 64) __builtin_prefetch(b + kNext + next);
    V x[MR];
    ATTN_UNROLL
    for (int i = 0; i < MR; ++i) x[i] = V(a[i * a_row]);
    ATTN_UNROLL
    for (int j = 0; j < NV; ++j) {
      const V w = widened<Arch, K>(b + j * W * E);
      ATTN_UNROLL
      for (int i = 0; i < MR; ++i) acc[i][j] = fma<Arch>(x[i], w, acc[i][j]);
    }
    a += a_col;
    b += g.width * E;
  }
  ATTN_UNROLL
  for (int i = 0; i < MR; ++i) {
    ATTN_UNROLL
    for (int j = 0; j < NV; ++j) {
      float* to = total + i * kCompactColumns + first + j * W;
      V sum = load<Arch>(to);
      if constexpr (K == StorageKind::int8) {
        sum = fma<Arch>(acc[i][j], load<Arch>(g.scales + first + j * W), sum);
      } else {
        sum += acc[i][j];
      }
      store<Arch>(to, sum);
    }
  }
}

template <class Arch, StorageKind K, int MR>
ATTN_INLINE void compact_rows(const CompactGroup& g, const float* a, int64_t a_row, int64_t a_col,
                              float* total) {
  constexpr int64_t W = kWidth<Arch>;
  constexpr int NV = Isa<Arch>::kRegisters == 32 || MR == 2 ? 4 : MR == 1 ? 8 : 2;
  int64_t j = 0;
  for (; j + NV * W <= g.width; j += NV * W)
    compact_tile<Arch, K, MR, NV>(g, a, a_row, a_col, j, total);
  for (; j < g.width; j += W) compact_tile<Arch, K, MR, 1>(g, a, a_row, a_col, j, total);
}

template <class Arch, StorageKind K>
__attribute__((noinline)) void compact_panel_of(const CompactPanel& c) {
  constexpr int64_t W = kWidth<Arch>, E = K == StorageKind::int8 ? 1 : 2;
  const int64_t width = (c.columns + 15) / 16 * 16;
  alignas(64) float total[kCompactRows * kCompactColumns];
  for (int64_t i = 0; i < c.m * kCompactColumns; i += W) store<Arch>(total + i, Vec<Arch>(0.0f));
  const char* b = static_cast<const char*>(c.b);
  for (int64_t p = 0; p < c.k; p += kCompactGroup) {
    CompactGroup g{b, nullptr, c.k - p < kCompactGroup ? c.k - p : kCompactGroup, width};
    if constexpr (K == StorageKind::int8) {
      g.scales = reinterpret_cast<const float*>(b);
      g.b += width * static_cast<int64_t>(sizeof(float));
    }
    b = g.b + g.rows * width * E;
    const float* a = c.a + p * c.a_col;
    int64_t i = 0;
    for (; i + 4 <= c.m; i += 4)
      compact_rows<Arch, K, 4>(g, a + i * c.a_row, c.a_row, c.a_col, total + i * kCompactColumns);
    const float* rest = a + i * c.a_row;
    float* to = total + i * kCompactColumns;
    if (c.m - i == 1) compact_rows<Arch, K, 1>(g, rest, c.a_row, c.a_col, to);
    if (c.m - i == 2) compact_rows<Arch, K, 2>(g, rest, c.a_row, c.a_col, to);
    if (c.m - i == 3) compact_rows<Arch, K, 3>(g, rest, c.a_row, c.a_col, to);
  }
  for (int64_t i = 0; i < c.m; ++i) {
    for (int64_t j = 0; j < c.columns; j += W) {
      const int64_t lanes = c.columns - j < W ? c.columns - j : W;
      Vec<Arch> x = load<Arch>(total + i * kCompactColumns + j);
      if (c.bias != nullptr) x += load_first<Arch>(c.bias + j, lanes);
      store_first<Arch>(c.c + i * c.c_row + j, x, lanes);
    }
  }
}

template <class Arch>
void compact_panel(const CompactPanel& c) {
  with_kind(c.kind, [&](auto kind) { compact_panel_of<Arch, kind.value>(c); });
}

// Groups of a panel, `rows` rows from `b` on, as float32 panels of this level: rows kPanel apart, panels `rows` rows.
template <class Arch>
void compact_unpack(StorageKind kind, int64_t width, int64_t rows, const void* b, float* dst) {
  constexpr int64_t W = kWidth<Arch>, P = kPanel<Arch>;
  with_kind(kind, [&](auto k) {
    constexpr StorageKind K = k.value;
    constexpr int64_t E = K == StorageKind::int8 ? 1 : 2;
    const char* from = static_cast<const char*>(b);
    const float* scales = nullptr;
    for (int64_t p = 0; p < rows; ++p, from += width * E) {
      if (K == StorageKind::int8 && p % kCompactGroup == 0) {
        scales = reinterpret_cast<const float*>(from);
        from += width * static_cast<int64_t>(sizeof(float));
      }
      for (int64_t j = 0; j < width; j += W) {
        Vec<Arch> x = widened<Arch, K>(from + j * E);
        if constexpr (K == StorageKind::int8) x *= load<Arch>(scales + j);
        store<Arch>(dst + j / P * P * rows + p * P + j % P, x);
      }
    }
  });
}

}  // namespace attn::kernels::simd
