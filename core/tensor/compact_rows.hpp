// SPDX-License-Identifier: Apache-2.0
//
// A tensor kept in fewer bits than float32: bfloat16, float16, or int8 with one scale for each row of its last axis (of
// keys and values: for each token and head). Views of it count elements as those of a float32 tensor do. [any-thread]
#pragma once

#include <attn/sdk/abi.h>

#include <cstddef>
#include <cstdint>

#include "core/tensor/dtype.hpp"

namespace attn {

struct CompactRows {
  StorageKind kind = StorageKind::float32;  // then there is nothing here
  const void* data = nullptr;
  const float* scales = nullptr;  // int8: of element i it is scales[i / length]
  int64_t length = 1;             // of a row
  int64_t first = 0;              // where a view begins

  [[nodiscard]] int64_t element_size() const { return kind == StorageKind::int8 ? 1 : 2; }
  [[nodiscard]] const char* at(int64_t i) const {
    return static_cast<const char*>(data) + (first + i) * element_size();
  }
  [[nodiscard]] const float* scale_at(int64_t i) const {
    return scales == nullptr ? nullptr : scales + (first + i) / length;
  }
};

// Writes the view v of rows, whose own data is not looked at, to `dense` in the order of its axes.
void widen(const attn_view& v, const CompactRows& rows, float* dense);

// Keeps x, float32, in the view `to` of rows, which has the shape of x and contiguous elements in its last axis. False: a
// finite number is too large for the kind; `to` is then partly written.
[[nodiscard]] bool narrow(const attn_view& x, const attn_view& to, const CompactRows& rows);

}  // namespace attn
