// SPDX-License-Identifier: Apache-2.0
//
// Rotary positions of queries and keys (Su et al. 2021, eq. 34, interleaved pairs) for a type with a history of keys.
// build() and first() refuse what cannot be rotated; x is (batch, heads, tokens, head). [call-thread]
#pragma once

#include <attn/sdk/layer.hpp>
#include <attn/sdk/ops.hpp>

#include <optional>

namespace attn::sdk {

struct Rotary {
  int64_t dim = 0;          // how many components of a head rotate, an even number
  int64_t max_seq_len = 0;  // positions that exist
  double theta = 10000;     // base of the frequencies

  // share: of the head that rotates. Weight files may hold the tables of the angles, of any length: they are not read.
  void build(Builder& b, int64_t head, double share, int64_t positions, double base = 10000) {
    dim = b.rotated(head, share);
    max_seq_len = positions;
    theta = base;
    if (share <= 0) return;
    for (const char* table : {"rope/cos_cached", "rope/sin_cached"}) b.not_stored(table, {0, 0});
  }

  // The position of the first of `tokens` tokens of this call: `offset`, or the length of the state.
  int64_t first(const Call& c, std::optional<int64_t> offset, int64_t tokens) const {
    const int64_t position = offset.value_or(c.position());
    if (dim > 0 && position > max_seq_len - tokens)
      fail(
          "{} positions from {} on do not fit in max_seq_len ({}); build the layer with a "
          "larger max_seq_len",
          tokens, position, max_seq_len);
    if (c.stateful() && position != c.position())
      fail("position_offset ({}) must equal the length of the state ({}); leave it out", position,
           c.position());
    return position;
  }

  template <class = void>
  Tensor rotate(const Tensor& x, int64_t position) const {
    return dim > 0 ? rope(x, theta, dim, position) : x;
  }
};

}  // namespace attn::sdk
