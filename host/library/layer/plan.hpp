// SPDX-License-Identifier: Apache-2.0
//
// What a Context knows of the plans of its calls.
#pragma once

#include <cstdint>

#include "host/library/tuning/plan_file.hpp"

namespace attn::host {

// What decides which remembered plan a call takes, as numbers: asked in every call, looked up when it changes.
struct PlanCall {
  uint64_t layer = 0, kind = 0;  // layer 0: none
  int threads = 0, level = 0;
  bool operator==(const PlanCall&) const = default;
};

struct ContextPlan {
  Plan given{};        // for calls without a remembered one
  bool tuned = false;  // remembered ones are looked for
  PlanCall call{};     // whose key and plan these are
  tuning::PlanKey key{};
  const tuning::KnownPlan* found = nullptr;
  const tuning::KnownPlan* remembered = nullptr;  // that the last call took
};

}  // namespace attn::host
