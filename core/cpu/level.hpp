// SPDX-License-Identifier: Apache-2.0
//
// Which instruction set the kernels use. Chosen once, at the first question: the best that both
// this CPU and its operating system support, or what ATTN_ISA names. [any-thread]
#pragma once

#include <attn/sdk/levels.hpp>
#include <string>
#include <vector>

namespace attn::cpu {

// reference: scalar code that reads like the formulas, in float or double. The others: SIMD
// kernels. Those of the family of processors that this is compiled for.
#define ATTN_LEVEL(level, ...) level,
enum class Level { reference, ATTN_SDK_LEVELS(ATTN_LEVEL, ) };
#undef ATTN_LEVEL

[[nodiscard]] const char* name(Level level) noexcept;

// What this machine can run, worst first; always begins with reference and the baseline.
[[nodiscard]] std::vector<Level> available();

// The level in use. Throws InvalidArgument, listing the available ones, when ATTN_ISA names a level
// that is unknown or that this machine lacks.
[[nodiscard]] Level level();

// For tests: uses another level from now on; not while a call runs. Throws as level() does.
void set_level(Level level);

// Model name and features of this machine, for people: "Intel(R) Xeon(R) ... (avx2 fma avx512f
// ...)".
[[nodiscard]] std::string describe();

}  // namespace attn::cpu
