// SPDX-License-Identifier: Apache-2.0
//
// The seed of the library, from which layers without a seed of their own get theirs.
//
// With a global seed the n-th draw is always the same, so a program that builds the same layers in the same
// order repeats its weights; without one draws come from the entropy of the operating system.
// State of the process behind a lock. No errors. [any-thread]
#pragma once

#include <cstdint>
#include <optional>

namespace attn::weights {

// Starts the sequence of draws anew; nullopt: back to entropy.
void set_global_seed(std::optional<uint64_t> seed);
[[nodiscard]] std::optional<uint64_t> global_seed();
[[nodiscard]] uint64_t draw_seed();

}  // namespace attn::weights
