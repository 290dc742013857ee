// SPDX-License-Identifier: Apache-2.0
//
// Numbers of the scalings of rotary positions, and what operators over them begin with, as kinds.hpp has it of the other
// families. A value never changes its meaning and is never used again.
#pragma once

#include <cstdint>

namespace attn {

// How published models stretch the frequencies of rotary positions; core/kernels/rotary.hpp has the formulas.
//
//   0 kind       I64   RopeScaling
//   1 factor     F64   how many times longer
//   2 original   F64   dynamic, yarn, longrope, llama3: original_max_position_embeddings
//   3 attention  F64   multiplies cos and sin
//   4 fast       F64   yarn: beta_fast; llama3: high_freq_factor
//   5 slow       F64   yarn: beta_slow; llama3: low_freq_factor
//   6 truncate   I64   yarn: 1: between whole numbers of pairs
//   7 divisors   F64S  longrope: short_factor
//   8 long       F64S  longrope: long_factor
//   9 sections   I64S  pairs of each axis of positions; empty: one axis
//  10 order      I64   RopeSections
enum class RopeScaling : std::int32_t {
  none = 0,
  linear = 1,
  dynamic = 2,
  yarn = 3,
  longrope = 4,
  llama3 = 5,
};
enum class RopeSections : std::int32_t {
  blocks = 0,       // the first section, the second, ...; frequencies as with one axis
  interleaved = 1,  // pair by pair round the axes; frequencies as with one axis
  axial = 2,        // blocks whose frequencies begin anew
};
inline constexpr int kRotaryAttributes = 11;

}  // namespace attn
