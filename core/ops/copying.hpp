// SPDX-License-Identifier: Apache-2.0
//
// Copies between views of one shape and one kind of element, any strides; transposes in tiles.
// `to` and `from` may not overlap. [call-thread]
#pragma once

#include "core/ops/grid.hpp"
#include "core/tensor/dtype.hpp"

namespace attn::ops {

[[nodiscard]] inline size_t element_size(int32_t dtype) {
  return dtype_size(static_cast<attn_dtype>(dtype));
}

void copy_elements(Parallel& p, const attn_view& from, const attn_view& to);

}  // namespace attn::ops
