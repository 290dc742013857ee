// SPDX-License-Identifier: Apache-2.0
//
// Which plan a call takes: what its context was given, or what this machine remembers for such a call.
#include <attn/log.hpp>
#include <attn/plan.hpp>
#include <attn/version.hpp>

#include <mutex>

#include "core/cpu/features.hpp"
#include "core/cpu/level.hpp"
#include "core/threads/fork.hpp"
#include "core/threads/pool.hpp"
#include "host/library/layer/context.hpp"
#include "host/library/layer/layer.hpp"
#include "host/library/layer/plan.hpp"
#include "host/library/loader/sha256.hpp"

namespace attn::host {

namespace {

// Read once: plans that are found while a process runs count from the next one on.
const tuning::PlanFile& remembered() {
  static threads::Mutex mutex;
  static const tuning::PlanFile* file = nullptr;
  {
    const std::lock_guard lock(mutex);
    if (file != nullptr) return *file;
    file = new tuning::PlanFile(tuning::PlanFile::default_path());
  }
  if (!file->problem().empty())
    log(LogLevel::warning, file->path() +
                               ": plans that were measured are not used: " + file->problem() +
                               "; expected a file that 'attn tune' wrote; remove it, and measure "
                               "again");
  return *file;
}

}  // namespace

tuning::PlanKey PluginLayer::plan_key(const PlanCall& call) const {
  Json values = config_;
  values.erase("name");
  return {.config = loader::sha256(std::string(type().id) + values.dump()),
          .call = call.kind,
          .weights = std::string(storage_name(layer_.storage())),
          .threads = call.threads,
          .level = cpu::name(static_cast<cpu::Level>(call.level)),
          .processor = cpu::model(),
          .version = version()};
}

void PluginLayer::take_plan(Context::Impl& ctx, const engine::Layer::Call& call,
                            bool deterministic) const {
  ctx.plan.remembered = nullptr;
  // Ranks must cut alike, whatever their machines remember.
  const bool automatic = call.communicator != nullptr || deterministic;
  ctx.engine.plan = automatic ? Plan{} : ctx.plan.given;
  if (!ctx.plan.tuned || automatic) return;
  const PlanCall now{.layer = layer_.id(),
                     .kind = layer_.kind_of(call),
                     .threads = threads::concurrency(),
                     .level = static_cast<int>(cpu::level())};
  if (ctx.plan.call != now) {
    ctx.plan.key = plan_key(now);
    ctx.plan.found = remembered().find(ctx.plan.key);
    ctx.plan.call = now;
  }
  if (ctx.plan.found == nullptr) return;
  ctx.plan.remembered = ctx.plan.found;
  ctx.engine.plan = ctx.plan.found->plan;
}

}  // namespace attn::host

namespace attn {

void use_plan(Context& ctx, const Plan& plan) { ctx.impl().plan.given = plan; }
void use_tuned(Context& ctx, bool on) { ctx.impl().plan.tuned = on; }
Plan plan_of(const Context& ctx) { return ctx.impl().engine.plan; }
bool is_tuned(const Context& ctx) { return ctx.impl().plan.remembered != nullptr; }

}  // namespace attn
