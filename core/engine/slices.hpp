// SPDX-License-Identifier: Apache-2.0
//
// Calls in slices of the batch. What the operators of a large call pass on to each other leaves the caches on its way;
// where the rows of a batch do not depend on each other, a few rows at a time go through all operators instead: on one
// thread each, where there are enough of them, so that what an operator leaves is in the cache of the thread that takes
// it up. With two threads, in the time of whole calls: attention in windows (8 images, 3,136 tokens, 96 wide) 0.74, gates
// on maps 0.66, attention over 512 tokens 0.93 to 0.99.
//
// Results are those of calls with the rows of a slice, whose number depends on the call, the weights and the size of
// the second-level cache, not on threads. Which calls: those without a state, maps, other ranks, random numbers, losses,
// statistics, and observables but those that weights tell, of a type that claims batch_independent for them, with more bytes
// than two slices hold; a plan may say otherwise. The first call of a kind runs once more with shapes alone, which tells what
// it needs; the context keeps the plan.
//
// A table of the call whose first axis is the batch is cut as inputs are; with the batch at another axis the call stays
// whole.
//
// A recorded call keeps a tape for each slice. The backward pass walks them as the forward pass made them, a slice a
// thread; what weights and inputs without a batch get from each slice is added up in the order of the slices.
#pragma once

#include <attn/sdk/abi.h>

#include <cstdint>

#include "core/engine/limits.hpp"

namespace attn::engine {

struct SlicePlan {
  uint64_t layer = 0, kind = 0;  // whose call, and what it was like; layer 0: none yet
  int64_t planned = 0;           // rows of a slice that Plan::slice_rows asked for
  int64_t batch = 0, rows = 0;   // rows of a slice; batch: one call for all
  attn_view outputs[kMaxPorts];  // of the whole call, without data; rank -1: not given
  int64_t
      storage[kMaxPorts];  // the how-manieth storage of the call each output is; -1: a part of one
  [[nodiscard]] bool whole() const { return rows >= batch; }
  [[nodiscard]] int64_t slices() const { return (batch + rows - 1) / rows; }
};

// Where storages of a slice are put instead of into the arena.
struct Placement {
  int64_t storage = -1;  // by the order in which the call asks for them
  void* data = nullptr;
  int64_t bytes = 0;
};

}  // namespace attn::engine
