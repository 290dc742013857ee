// SPDX-License-Identifier: Apache-2.0
//
// What build() and forward() refuse before they begin, with one text each. `what` is the word for the input in the
// message: "Input", "Query". [any-thread]
#pragma once

#include <attn/sdk/error.hpp>
#include <attn/sdk/tensor.hpp>

#include <cstdint>

namespace attn::sdk {

// a * b, for extents made of what users choose; refused by the name `of` ("num_heads * key_dim") where it has no place
// in 64 bits.
inline int64_t product(const char* of, int64_t a, int64_t b) {
  int64_t n = 0;
  if (__builtin_mul_overflow(a, b, &n))
    fail("{} ({} * {}) is too large; expected a product below 2^63", of, a, b);
  return n;
}

// a + b, in the same way: sum("qk_nope_head_dim + v_head_dim", a, b).
inline int64_t sum(const char* of, int64_t a, int64_t b) {
  int64_t n = 0;
  if (__builtin_add_overflow(a, b, &n))
    fail("{} ({} + {}) is too large; expected a sum below 2^63", of, a, b);
  return n;
}

// Refuses a parameter beyond what the type can count or run in a lifetime. For build(): rules of the schema come first.
inline void check_at_most(const char* name, int64_t value, int64_t most) {
  if (value > most) fail("{} ({}) must be at most {}", name, value, most);
}

// The last axis of an input must have the extent of the parameter `name`.
inline void check_width(const Tensor& x, int64_t width, const char* name,
                        const char* what = "Input") {
  if (x.dim(-1) != width)
    fail("{} last dimension ({}) must match {} ({}), got shape {}", what, x.dim(-1), name, width,
         x.shape());
}

inline void check_not_empty(const Tensor& x, const char* what = "Input") {
  if (x.size() == 0) fail("{} must not be empty, got shape {}", what, x.shape());
}

// (batch, seq, dim) with something in it. A part of a sequence that several ranks share may have no tokens.
inline void check_sequence(const Tensor& x, int64_t dim, const char* what = "Input",
                           bool is_part = false) {
  if (x.rank() != 3) fail("{} must be 3D (batch, seq, dim), got shape {}", what, x.shape());
  check_width(x, dim, "dim", what);
  if (x.dim(0) == 0 || (x.dim(1) == 0 && !is_part)) check_not_empty(x, what);
}

// (batch, height, width, channels) with something in it; channels -1: any number. name: of the parameter that says how
// many.
inline void check_feature_map(const Tensor& x, int64_t channels, const char* name = "channels") {
  if (x.rank() != 4)
    fail("Input must be 4D (batch, height, width, {}), got shape {}", name, x.shape());
  if (channels >= 0) check_width(x, channels, name);
  check_not_empty(x);
}

}  // namespace attn::sdk
