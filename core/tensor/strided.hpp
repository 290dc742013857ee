// SPDX-License-Identifier: Apache-2.0
//
// Copies between views of any strides and floating kinds. [any-thread]
#pragma once

#include <attn/sdk/operator.hpp>

#include <string>

namespace attn {

using sdk::set_dense_strides;
using sdk::shape_text;
using sdk::size_of;

// to = from, element by element; same shape, same kind, or both floating. Negative and zero strides are fine in
// `from`.
void copy_strided(const attn_view& from, const attn_view& to);

// to += from; both of the same floating kind (float or double) and shape.
void add_strided(const attn_view& from, const attn_view& to);

// Elements from the first to the last that the view touches, for strides >= 0; 0 for an empty view.
[[nodiscard]] int64_t span_of(const attn_view& v);

// Element i of a list of int32 or int64.
[[nodiscard]] inline int64_t integer_at(const attn_view& v, int64_t i) {
  return v.dtype == ATTN_I64 ? sdk::data<int64_t>(v)[i * v.stride[0]]
                             : sdk::data<int32_t>(v)[i * v.stride[0]];
}

}  // namespace attn
