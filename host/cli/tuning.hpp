// SPDX-License-Identifier: Apache-2.0
//
// The best plan for one call, found by measuring. Every candidate is timed in turn with the automatic plan, by minima; the
// one that gains most is timed again before it counts, because the best of several measurements is partly luck.
#pragma once

#include <functional>
#include <vector>

#include "host/cli/workload.hpp"

namespace attn::cli {

inline constexpr double kWorthKeeping = 0.03;  // of the time

struct Tried {
  Plan plan{};
  double seconds = 1, automatic = 1;  // of a step, in turn with each other
  [[nodiscard]] double gain() const { return 1 - seconds / automatic; }
};

struct Tuned {
  Plan plan{};
  double seconds = 0, automatic = 0;  // as in Tried; automatic: the same number
  std::vector<Tried> tried{};
};

// seconds: about how long each candidate is timed; say: told what goes on.
[[nodiscard]] Tuned tuned(PreparedWorkload& ready, double seconds,
                          const std::function<void(const Plan&)>& say);

}  // namespace attn::cli
