// SPDX-License-Identifier: Apache-2.0
#include "host/cli/tuning.hpp"

#include <algorithm>
#include <limits>

#include "host/cli/timing.hpp"

namespace attn::cli {

namespace {

constexpr double kTurn = 0.004;  // seconds: shorter steps are repeated within a turn
constexpr int kFewTurns = 4;     // after which a candidate without a gain is given up

struct Pair {
  double a = std::numeric_limits<double>::infinity(), b = a;
};

// The least time of a step with each plan, in turn. patient: to the end, also where b is no faster.
Pair timed(PreparedWorkload& ready, const Plan& a, const Plan& b, double seconds, bool patient) {
  const auto turn = [&](const Plan& plan, double& least) {
    use_plan(ready.context(), plan);
    ready.step();  // what is planned for this one, and what the other left in the caches
    const Clock::time_point begin = Clock::now();
    do {
      const Clock::time_point start = Clock::now();
      ready.step();
      least = std::min(least, seconds_since(start));
    } while (seconds_since(begin) < kTurn);
  };
  const BenchLock lock;
  const Clock::time_point begin = Clock::now();
  Pair pair;
  for (int n = 0; n < kFewTurns || seconds_since(begin) < seconds; ++n) {
    turn(n % 2 ? a : b, n % 2 ? pair.a : pair.b);
    turn(n % 2 ? b : a, n % 2 ? pair.b : pair.a);
    if (!patient && n + 1 >= kFewTurns && pair.b > pair.a) break;
  }
  return pair;
}

// All that a call with that batch can take: whole, or slices of a power of two.
std::vector<Plan> candidates(int64_t batch) {
  std::vector<Plan> all;
  for (int64_t rows = 1; rows < batch; rows *= 2) all.push_back({.slice_rows = rows});
  all.push_back({.slice_rows = batch});
  return all;
}

}  // namespace

Tuned tuned(PreparedWorkload& ready, double seconds, const std::function<void(const Plan&)>& say) {
  Tuned result;
  Tried winner;
  result.automatic = std::numeric_limits<double>::infinity();
  for (const Plan& plan : candidates(ready.workload().inputs.front().second[0])) {
    say(plan);
    const Pair pair = timed(ready, {}, plan, seconds, false);
    result.tried.push_back({plan, pair.b, pair.a});
    result.automatic = std::min(result.automatic, pair.a);
    if (result.tried.back().gain() > winner.gain()) winner = result.tried.back();
  }
  if (winner.gain() >= kWorthKeeping) {
    const Pair again = timed(ready, {}, winner.plan, 2 * seconds, true);
    result.automatic = again.a;
    if (1 - again.b / again.a >= kWorthKeeping) {
      result.plan = winner.plan;
      result.seconds = again.b;
    }
  }
  if (result.plan == Plan{}) result.seconds = result.automatic;
  use_plan(ready.context(), {});
  return result;
}

}  // namespace attn::cli
