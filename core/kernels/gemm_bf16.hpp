// SPDX-License-Identifier: Apache-2.0
//
// Matrix products whose operands are rounded to bfloat16, as bf16.hpp has them; sums are float32, k at most kBf16Depth of
// them at a time. gemm() comes here by itself for calls that ask for it (Parallel::bfloat16); see there for the layouts.
// Numbers below 2^-126 count as 0, those beyond 3.39e38 as infinity. Results do not depend on the number of threads, nor, from
// 25 rows on, on whether B was packed: fewer meet a B that was not in float32.
// [call-thread]
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/kernels/gemm.hpp"

namespace attn::kernels {

// Whether products of the call take this way. False: they are float32, which is never wrong.
[[nodiscard]] bool uses_bf16(const Parallel& parallel);

// Pairs that a packed (k, n) matrix takes, and packing one whose rows lie side by side. uses_bf16() holds.
[[nodiscard]] size_t bf16_packed_size(int64_t k, int64_t n);
void pack_bf16(int64_t k, int64_t n, const float* b, uint32_t* dst);

// g.k > 0; g.pairs, or any b.
void gemm_bf16(const Gemm& g, Parallel& parallel);

}  // namespace attn::kernels
