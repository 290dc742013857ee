// SPDX-License-Identifier: Apache-2.0
//
// A layer of any type for a shape that somebody asks for, made from the type's schema: the parameters that name an extent
// of its first input, heads, whatever else it requires, and what makes it causal. Nothing here knows a type; names count
// where a schema cannot say what a number means. Errors: reasons in words, no exceptions.
#pragma once

#include <attn/attention.hpp>
#include <attn/factory.hpp>

#include <string>

#include "host/cli/workload.hpp"

namespace attn::cli {

struct Wanted {
  Shape
      shape;  // of the first input: (batch, positions, width), or (batch, height, width, channels)
  int64_t heads = 1;
  bool causal = false;
  BenchMode mode = BenchMode::inference;  // decoding: shape[1] positions are there before

  [[nodiscard]] int64_t width() const { return shape[shape.rank() - 1]; }
  [[nodiscard]] int64_t positions() const;  // of one example
};

struct Candidate {
  Workload workload{};
  std::string settings{};  // what it was given beside the width: "num_heads=8, window_size=8"
  std::string reason{};    // why there is none; empty: there is
};

inline constexpr int64_t kDecodedTokens = 8;  // in a step of decoding

[[nodiscard]] Candidate candidate(const TypeEntry& entry, const Wanted& wanted);

}  // namespace attn::cli
