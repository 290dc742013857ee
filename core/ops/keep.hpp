// SPDX-License-Identifier: Apache-2.0
//
// Masks as the library takes them in: which elements keep, and which masks are those of another library. [any-thread]
#pragma once

#include <attn/sdk/read_mask.hpp>

#include "core/ops/op.hpp"
#include "core/tensor/dtype.hpp"

namespace attn::ops {

// Calls line(r, first) for rows begin..end-1 of v along its last axis: number of the row, and place of its first
// element counted from the data.
template <class F>
void for_rows(const attn_view& v, int64_t begin, int64_t end, F&& line) {
  for (int64_t r = begin; r < end; ++r) {
    int64_t rest = r, at = 0;
    for (int axis = v.rank - 2; axis >= 0; --axis) {
      at += rest % v.shape[axis] * v.stride[axis];
      rest /= v.shape[axis];
    }
    if (!line(r, at)) return;
  }
}

// What the floating elements of a mask show.
struct Signs {
  bool negative = false, positive = false;
  [[nodiscard]] bool additive() const { return negative && !positive; }
};

// Looks no further than the first element above 0, which is one of the first of most keep masks.
inline Signs signs_of(const attn_view& v) {
  Signs s;
  if (!dtype_is_floating(static_cast<attn_dtype>(v.dtype)) || size_of(v) == 0) return s;
  const int64_t n = v.rank ? v.shape[v.rank - 1] : 1, step = v.rank ? v.stride[v.rank - 1] : 1;
  sdk::detail::with_elements(v, [&](const auto* p, auto kept, auto negative) {
    for_rows(v, 0, size_of(v) / n, [&](int64_t, int64_t first) {
      for (int64_t i = 0; i < n && !s.positive; ++i) {
        const auto x = p[first + i * step];
        s.positive = kept(x);
        s.negative = s.negative || negative(x);
      }
      return !s.positive;
    });
  });
  return s;
}

inline constexpr const char* kAdditiveMask =
    "holds negative numbers and nothing above 0, as an additive mask of another library does; "
    "expected a keep mask: "
    "true or 1 for what may be used, false or 0 for what is masked (from an additive mask: mask == "
    "0)";

}  // namespace attn::ops
