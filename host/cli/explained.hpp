// SPDX-License-Identifier: Apache-2.0
//
// One call of a layer taken apart: what it ran, what each part took and could take at best, and what costs more than it
// has to. All of it comes from the call that ran and from the operators; no type is known here.
#pragma once

#include <attn/attention.hpp>
#include <attn/plan.hpp>

#include <string>
#include <vector>

#include "core/kernels/limit.hpp"
#include "host/cli/workload.hpp"

namespace attn::cli {

struct Advice {
  std::string kind;               // one word: "lanes", "reach", "copies", ...
  std::string text;               // what costs, and what would not
  std::vector<size_t> operators;  // in the profile; none: it is about the call
  double seconds = 0;             // that it may cost, at most; 0: not known
};

struct Explained {
  std::vector<OperatorTime> profile;  // of the fastest call
  double seconds = 0;                 // of that call
  size_t calls = 0;                   // that it was the fastest of
  kernels::Work work{};               // of the call; decoding: of one token
  kernels::Limit limit{};
  size_t workspace = 0, state = 0, weights = 0;  // bytes
  Plan plan{};                                   // of the call
  std::string plan_from;                         // and where it comes from
  std::vector<Advice> advice;

  [[nodiscard]] double inside() const;   // seconds in operators
  [[nodiscard]] int64_t slices() const;  // of the batch; 1: none were made
};

// Repeats the call for about so many seconds, at least three times.
[[nodiscard]] Explained explained(const Workload& workload, const kernels::Machine& machine,
                                  double seconds);

// Why the instruction set in use is that one: "the best of this machine" or "ATTN_ISA names it".
[[nodiscard]] std::string why_level();

}  // namespace attn::cli
