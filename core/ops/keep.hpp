// SPDX-License-Identifier: Apache-2.0
//
// Reading masks and conditions: elements of any kind, > 0 means kept; NaN does not. [any-thread]
#pragma once

#include <cstdint>

#include "core/ops/op.hpp"

namespace attn::ops {

// out[i] = 1 when element `first` + i * step of v (counted from its data) is > 0, else 0.
inline void read_keep(const attn_view& v, int64_t first, int64_t step, int64_t n, uint8_t* out) {
  const auto line = [&](const auto* p, auto kept) {
    p += first;
    for (int64_t i = 0; i < n; ++i) out[i] = kept(p[i * step]) ? 1 : 0;
  };
  const auto positive = [](auto x) { return x > 0; };
  switch (v.dtype) {
    case ATTN_F32:
      line(data<const float>(v), positive);
      break;
    case ATTN_F64:
      line(data<const double>(v), positive);
      break;
    case ATTN_F16:  // from the smallest to infinity
      line(data<const uint16_t>(v), [](uint16_t b) { return b >= 1 && b <= 0x7c00; });
      break;
    case ATTN_BF16:
      line(data<const uint16_t>(v), [](uint16_t b) { return b >= 1 && b <= 0x7f80; });
      break;
    case ATTN_I32:
      line(data<const int32_t>(v), positive);
      break;
    case ATTN_I64:
      line(data<const int64_t>(v), positive);
      break;
    case ATTN_U32:
      line(data<const uint32_t>(v), positive);
      break;
    default:
      line(data<const uint8_t>(v), positive);
      break;
  }
}

}  // namespace attn::ops
