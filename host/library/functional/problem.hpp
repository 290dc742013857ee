// SPDX-License-Identifier: Apache-2.0
//
// A call of scaled_dot_product_attention, checked: extents, and every tensor with the four axes (batch, head, row,
// element). Throws sdk::Error, without the name of the function. [any-thread]
#pragma once

#include <attn/sdk/abi.h>
#include <attn/functional.hpp>

namespace attn::functional {

struct Problem {
  // B, H, G, L, S, P, T, D, E of functional.hpp
  int64_t batch = 0, heads = 0, kv_heads = 0, queries = 0, new_keys = 0, past = 0, keys = 0,
          head_dim = 0, value_dim = 0;
  attn_dtype dtype = ATTN_F32;  // of the operands
  bool in_double = false;       // what is computed in
  double scale = 1;
  attn_view query{}, key{}, value{};
  bool has_past = false, has_mask = false;
  attn_view past_key{}, past_value{};
  attn_view mask{};  // extents of 1 have stride 0; the last is 1 or up to T
  ScaledDotProductTypes types{};
};

// contents: memory is looked at.
[[nodiscard]] Problem make_problem(const ConstView& query, const ConstView& key,
                                   const ConstView& value, const ScaledDotProductOptions& options,
                                   bool contents);

// A result or its gradient, of `heads` heads, with four axes; three are (batch, row, head * element).
[[nodiscard]] attn_view four_axes(const ConstView& v, int64_t heads);

// Refuses memory (or a gradient) of another kind or shape.
void check_type(const ConstView& v, const TensorType& type, const char* name);

}  // namespace attn::functional
