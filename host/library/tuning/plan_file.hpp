// SPDX-License-Identifier: Apache-2.0
//
// Remembers between processes which plan was measured to be the best for a call on a machine.
//
// One JSON file for each user, beside the verdicts on plugins; it is replaced as a whole. One that is damaged, of another
// format, too large, or that others may write counts as empty, and problem() says why. Losing it costs time and nothing
// else: no result depends on it beyond rounding. [one thread per object; any number of processes]
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "core/engine/plan.hpp"
#include "core/schema/json.hpp"

namespace attn::tuning {

inline constexpr std::pair<const char*, int64_t Plan::*> kPlanFields[] = {
    {"slice_rows", &Plan::slice_rows}};

// {"slice_rows": 2}: what is not automatic.
[[nodiscard]] Json plan_json(const Plan& plan);

// "slice_rows 2", or "automatic".
[[nodiscard]] std::string plan_text(const Plan& plan);

// Which calls a plan is for.
struct PlanKey {
  std::string config;     // SHA-256 of type and effective parameters, without the layer's name
  uint64_t call = 0;      // engine::Layer::kind_of()
  std::string weights{};  // the kind in which products read them: "float32"
  int64_t threads = 0;
  std::string level{}, processor{}, version{};

  bool operator==(const PlanKey&) const = default;
};

struct KnownPlan {
  PlanKey key{};
  Plan plan{};
  std::string layer{}, inputs{}, mode{};  // for people
  double seconds = 0, automatic = 0;      // of the call, with the plan and without
};

class PlanFile {
 public:
  // An empty path: nothing is remembered.
  explicit PlanFile(std::string path);

  [[nodiscard]] const std::string& path() const { return path_; }
  // Why there is nothing to be found in a file that exists; empty: it was read, or there is none.
  [[nodiscard]] const std::string& problem() const { return problem_; }
  [[nodiscard]] const KnownPlan* find(const PlanKey& key) const;
  void put(KnownPlan plan);  // in place of the one with that key
  void forget(const PlanKey& key);
  // Whether the file was written.
  [[nodiscard]] bool save() const;

  // The file in the user's cache directory; empty: there is no such directory.
  [[nodiscard]] static std::string default_path();

 private:
  std::string path_, problem_;
  std::vector<KnownPlan> plans_;  // the newest last
};

}  // namespace attn::tuning
