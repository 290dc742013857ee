// SPDX-License-Identifier: Apache-2.0
#include "host/library/tuning/plan_file.hpp"

#include <attn/config.hpp>
#include <attn/error.hpp>

#include <algorithm>

#include "host/library/loader/search_path.hpp"
#include "host/library/loader/user_file.hpp"

namespace attn::tuning {
namespace {

constexpr int64_t kFormat = 1;
constexpr size_t kMaxFile = 1 << 20;
constexpr size_t kMaxPlans = 1000;  // the oldest give way
constexpr int64_t kMostRows = int64_t{1} << 31;

[[noreturn]] void refuse(const std::string& what) { throw InvalidArgument(what); }

const Json& member(const Json& object, const char* name) {
  const Json* value = object.is_object() ? object.find(name) : nullptr;
  if (value == nullptr) refuse(std::string("'") + name + "' is missing");
  return *value;
}

int64_t count(const Json& value, const char* name) {
  const auto n = value.to_int64();
  if (!n || *n < 0 || *n > kMostRows)
    refuse(std::string("'") + name + "' is " + value.brief() + "; expected a number from 0 on");
  return *n;
}
int64_t count_of(const Json& object, const char* name) { return count(member(object, name), name); }

Plan plan_of(const Json& object) {
  Plan plan;
  for (const auto& [name, value] : object.as_object()) {
    const auto* field = std::find_if(std::begin(kPlanFields), std::end(kPlanFields),
                                     [&](const auto& f) { return name == f.first; });
    if (field == std::end(kPlanFields)) refuse("a plan has '" + name + "'");
    plan.*field->second = count(value, field->first);
  }
  return plan;
}

KnownPlan known_plan(const Json& j) {
  const Json& k = member(j, "for");
  KnownPlan p;
  p.key = {.config = member(k, "config").as_string(),
           .call = std::stoull(member(k, "call").as_string(), nullptr, 16),
           .weights = member(k, "weights").as_string(),
           .threads = count_of(k, "threads"),
           .level = member(k, "level").as_string(),
           .processor = member(k, "processor").as_string(),
           .version = member(k, "version").as_string()};
  p.plan = plan_of(member(j, "plan"));
  p.layer = member(j, "layer").as_string();
  p.inputs = member(j, "inputs").as_string();
  p.mode = member(j, "mode").as_string();
  p.seconds = member(j, "ms").to_double() * 1e-3;
  p.automatic = member(j, "automatic_ms").to_double() * 1e-3;
  return p;
}

std::string hexadecimal(uint64_t x) {
  std::string text;
  for (int shift = 60; shift >= 0; shift -= 4) text += "0123456789abcdef"[x >> shift & 15];
  return text;
}

Json json_of(const KnownPlan& p) {
  return {{"layer", p.layer},
          {"inputs", p.inputs},
          {"mode", p.mode},
          {"plan", plan_json(p.plan)},
          {"ms", p.seconds * 1e3},
          {"automatic_ms", p.automatic * 1e3},
          {"for", Json({{"config", p.key.config},
                        {"call", hexadecimal(p.key.call)},
                        {"weights", p.key.weights},
                        {"threads", p.key.threads},
                        {"level", p.key.level},
                        {"processor", p.key.processor},
                        {"version", p.key.version}})}};
}

}  // namespace

Json plan_json(const Plan& plan) {
  Json j = Json::object();
  for (const auto& [name, field] : kPlanFields)
    if (plan.*field > 0) j.set(name, plan.*field);
  return j;
}

std::string plan_text(const Plan& plan) {
  std::string text;
  for (const auto& [name, field] : kPlanFields)
    if (plan.*field > 0)
      text += (text.empty() ? "" : ", ") + std::string(name) + " " + std::to_string(plan.*field);
  return text.empty() ? "automatic" : text;
}

std::string PlanFile::default_path() {
  const std::string base = loader::xdg_directory("XDG_CACHE_HOME", ".cache");
  return base.empty() ? "" : base + "/attn/plans.json";
}

PlanFile::PlanFile(std::string path) : path_(std::move(path)) {
  if (path_.empty()) return;
  const loader::UserFile file = loader::read_user_file(path_, kMaxFile);
  problem_ = file.problem;
  if (!file.exists || !problem_.empty()) return;
  try {
    const Json all = parse_config(file.text, path_);
    if (const int64_t format = count_of(all, "attn_plans"); format != kFormat)
      refuse("its format is " + std::to_string(format) + ", not " + std::to_string(kFormat));
    for (const Json& j : member(all, "plans").as_list()) plans_.push_back(known_plan(j));
  } catch (const std::exception& e) {  // also of stoull
    plans_.clear();
    problem_ = e.what();
  }
}

const KnownPlan* PlanFile::find(const PlanKey& key) const {
  const auto it =
      std::find_if(plans_.begin(), plans_.end(), [&](const KnownPlan& p) { return p.key == key; });
  return it == plans_.end() ? nullptr : &*it;
}

void PlanFile::forget(const PlanKey& key) {
  std::erase_if(plans_, [&](const KnownPlan& p) { return p.key == key; });
}

void PlanFile::put(KnownPlan plan) {
  forget(plan.key);
  plans_.push_back(std::move(plan));
}

bool PlanFile::save() const {
  if (path_.empty()) return false;
  for (size_t most = kMaxPlans;; most /= 2) {
    Json list = Json::list({});
    for (size_t i = plans_.size() - std::min(plans_.size(), most); i < plans_.size(); ++i)
      list.push_back(json_of(plans_[i]));
    const std::string text = Json({{"attn_plans", kFormat}, {"plans", list}}).dump(1) + "\n";
    if (text.size() <= kMaxFile) return loader::replace_user_file(path_, text);
    if (most == 0) return false;
  }
}

}  // namespace attn::tuning
