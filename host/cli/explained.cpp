// SPDX-License-Identifier: Apache-2.0
#include "host/cli/explained.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>

#include "core/cpu/level.hpp"
#include "host/cli/print.hpp"
#include "host/cli/profile.hpp"
#include "host/cli/timing.hpp"
#include "host/library/layer/context.hpp"

namespace attn::cli {

namespace {

constexpr double kWorthTelling = 0.01;  // of the call: what costs less is left out
constexpr double kMuch = 0.15;          // of the call, for time that is not spent on computing
constexpr double kManyTimes = 4;  // what the call reads and returns, for what it keeps between

bool moves(const OperatorTime& op) { return op.counted && op.flops == 0; }

class Adviser {
 public:
  Adviser(const Explained& e, const kernels::Machine& machine, double call_bytes)
      : e_(e), machine_(machine), call_bytes_(call_bytes) {}

  std::vector<Advice> all() {
    level();
    for (size_t i = 0; i < e_.profile.size(); ++i) {
      for (const OperatorWaste& w : e_.profile[i].waste)
        add({w.kind, w.text, {i}, e_.profile[i].seconds * w.part});
      repeated(i);
      stored(i);
    }
    moved();
    outside();
    weights();
    std::erase_if(out_, [&](const Advice& a) {
      return a.seconds > 0 && a.seconds < kWorthTelling * e_.seconds;
    });
    std::stable_sort(out_.begin(), out_.end(),
                     [](const Advice& a, const Advice& b) { return a.seconds > b.seconds; });
    return out_;
  }

 private:
  void add(Advice a) {
    for (Advice& known : out_)
      if (known.text == a.text) {
        known.operators.insert(known.operators.end(), a.operators.begin(), a.operators.end());
        known.seconds += a.seconds;
        return;
      }
    out_.push_back(std::move(a));
  }

  void level() {
    const cpu::Level best = cpu::available().back();
    if (cpu::level() != best)
      add({"instruction_set",
           fmt::format("{} is in use, because {}; this machine has {}", cpu::name(cpu::level()),
                       why_level(), cpu::name(best)),
           {},
           0});
  }

  // More numbers out than in, without arithmetic.
  void repeated(size_t i) {
    const OperatorTime& op = e_.profile[i];
    if (!moves(op) || op.given < 1.15 * op.taken || op.given < call_bytes_ / 4 || op.taken <= 0)
      return;
    add({"repeats",
         fmt::format("makes {:.2f} times as many numbers as it gets, {} of {}: an extent is "
                     "filled up or repeated, and what follows works on all of it",
                     op.given / op.taken, human_bytes(op.given), human_bytes(op.taken)),
         {i},
         0});
  }

  void stored(size_t i) {
    const OperatorTime& op = e_.profile[i];
    const double room = static_cast<double>(
        std::max(cpu::capacity(machine_.caches.second, machine_.threads), int64_t{1} << 20));
    if (op.given / static_cast<double>(op.slices) < room || op.given < kManyTimes * call_bytes_)
      return;
    add({"memory",
         fmt::format("stores {} for the next operator, {:.0f} times what the call reads and "
                     "returns",
                     human_bytes(op.given), op.given / call_bytes_),
         {i},
         0});
  }

  void moved() {
    Advice a{"copies", "", {}, 0};
    for (size_t i = 0; i < e_.profile.size(); ++i)
      if (moves(e_.profile[i])) {
        a.operators.push_back(i);
        a.seconds += e_.profile[i].seconds;
      }
    if (a.seconds < kMuch * e_.seconds) return;
    a.text = fmt::format("{:.0f} % of the call goes into moving numbers without computing",
                         100 * a.seconds / e_.seconds);
    add(a);
  }

  void outside() {
    const double rest = e_.seconds - e_.inside();
    if (rest < kMuch * e_.seconds || e_.profile.empty()) return;
    add({"overhead",
         fmt::format("{:.0f} % of the call passes outside of operators. It is a small call: more "
                     "rows or positions in one share that time",
                     100 * rest / e_.seconds),
         {},
         rest});
  }

  void weights() {
    const auto bytes = static_cast<double>(e_.weights);
    if (e_.limit.bound == kernels::Bound::fma || bytes < 0.5 * (e_.work.read + e_.work.written))
      return;
    add({"weights",
         fmt::format("what bounds the call is reading {} of weights from {}; more rows in a call "
                     "would cost little",
                     human_bytes(bytes), kernels::name(e_.limit.level)),
         {},
         0});
  }

  const Explained& e_;
  const kernels::Machine& machine_;
  double call_bytes_;
  std::vector<Advice> out_{};
};

double call_bytes(PreparedWorkload& ready, const Workload& w) {
  double bytes = 0;
  for (const auto& input : w.inputs) bytes += 4.0 * static_cast<double>(input.second.elements());
  const attn_type& type = ready.layer().type();
  for (uint32_t i = 0; i < type.n_outputs; ++i)
    if (const auto view = ready.context().output(type.outputs[i]->name))
      bytes += 4.0 * static_cast<double>(view->size());
  return bytes;
}

}  // namespace

double Explained::inside() const { return total(profile).seconds; }

int64_t Explained::slices() const {
  int64_t most = 1;
  for (const OperatorTime& op : profile) most = std::max(most, op.slices);
  return most;
}

std::string why_level() {
  const char* wanted = std::getenv("ATTN_ISA");
  return wanted && *wanted ? "ATTN_ISA names it" : "it is the best of this machine";
}

namespace {

std::string plan_from(const Context& ctx, bool tuned) {
  if (!tuned) return "--tuned asks for what 'attn tune' found";
  const tuning::KnownPlan* known = ctx.impl().plan.remembered;
  const std::string file = tuning::PlanFile::default_path();
  if (known == nullptr) return file + " has none for this call";
  return fmt::format("of {}, where it took {:.4g} ms instead of {:.4g}", file, known->seconds * 1e3,
                     known->automatic * 1e3);
}

}  // namespace

Explained explained(const Workload& workload, const kernels::Machine& machine, double seconds) {
  PreparedWorkload ready(workload);
  Explained e;
  const BenchLock lock;
  ready.step();
  const Clock::time_point begin = Clock::now();
  for (; e.calls < 3 || (e.calls < 1000 && seconds_since(begin) < seconds); ++e.calls) {
    const double time = ready.profiled_step();
    if (e.calls == 0) {
      e.work = ready.work();
      const auto steps = static_cast<double>(ready.steps());
      e.work.flops /= steps, e.work.read /= steps, e.work.written /= steps;
    }
    if (e.calls > 0 && time >= e.seconds) continue;
    e.seconds = time;
    e.profile = ready.profile();
  }
  e.limit = limit_of(e.work, machine);
  e.workspace = ready.peak_bytes();
  e.state = ready.state_bytes();
  e.plan = plan_of(ready.context());
  e.plan_from = plan_from(ready.context(), workload.tuned);
  for (const WeightInfo& w : ready.layer().weights())
    if (!w.not_stored) e.weights += 4 * static_cast<size_t>(w.shape.elements());
  e.advice = Adviser(e, machine, call_bytes(ready, workload)).all();
  return e;
}

}  // namespace attn::cli
