// SPDX-License-Identifier: Apache-2.0
//
// Numbers in fewer bits than float32, and back: scalar code, so that every level stores and reads the same numbers.
// Nothing here allocates or fails. [any-thread]
#pragma once

#include <cstdint>

#include "core/tensor/dtype.hpp"

namespace attn {

// n numbers in bfloat16 or float16: to nearest, ties to even; infinity and NaN stay. False: a finite one became infinite.
[[nodiscard]] bool narrow(StorageKind kind, int64_t n, const float* x, uint16_t* y);

// The scale of int8 for numbers whose magnitudes have these bits at most: 0 where all of them are, or nearly; NaN where
// one is none. Its reciprocal goes to quantize().
struct Scale {
  float scale, inverse;
};
[[nodiscard]] Scale scale_of(uint32_t largest_magnitude);
// The largest of n, as bits: NaN is above infinity, infinity above all numbers.
[[nodiscard]] uint32_t largest_magnitude(int64_t n, const float* x);
// y = x * inverse, to nearest; for every number of a line the same inverse or, with step 1, one each.
void quantize(int64_t n, const float* x, const float* inverse, int64_t step, int8_t* y);

// A line of n numbers; int8 times scale.
void widen(StorageKind kind, int64_t n, const void* x, float scale, float* y);

}  // namespace attn
