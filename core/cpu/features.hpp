// SPDX-License-Identifier: Apache-2.0
//
// What this processor and its operating system can do; one source for each family of processors. [any-thread]
#pragma once

#include <string>

#include "core/cpu/level.hpp"

namespace attn::cpu {

// Whether the level runs here.
[[nodiscard]] bool runs(Level level);

// Whether processor and operating system have the matrix tiles of AMX for bfloat16, which this process asks for at the
// first question.
[[nodiscard]] bool has_amx();
// Whether the level avx512 runs here and dot products of pairs in bfloat16 are there too.
[[nodiscard]] bool has_avx512_bf16();

// The name of the model, or of the family when that is not known, and the features that levels need: "sse2 avx2 fma".
[[nodiscard]] std::string model();
[[nodiscard]] std::string features();

}  // namespace attn::cpu
