// SPDX-License-Identifier: Apache-2.0
//
// The derivative of a score as expressions: reverse mode over the nodes, once, when a program is made.
//
// Pieces: min, max and clamp give everything to the side that is chosen, the second one where both are equal; abs has 0
// at 0; floor, comparisons and indices have 0. What a side that is not taken computes reaches nothing, NaN included:
// an adjoint carries the condition under which it counts, and is a choice between it and 0 only where it ends or meets
// another. [any-thread]
#pragma once

#include "core/program/dag.hpp"

namespace attn::program {

// Of one read of a table of real numbers.
struct ReadFactor {
  int32_t read = -1, factor = -1;
};
struct Derivative {
  int32_t ds = -1;  // by the score; -1: it does not occur
  std::vector<ReadFactor> reads;
};

[[nodiscard]] Derivative derive(Dag& dag, int32_t root);

}  // namespace attn::program
