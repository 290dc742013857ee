// SPDX-License-Identifier: Apache-2.0
//
// attn tune: measures which plan is best for one call on this machine, and remembers it for --tuned.
#include <fmt/format.h>
#include <attn/error.hpp>
#include <attn/threads.hpp>

#include <memory>

#include "core/cpu/level.hpp"
#include "host/cli/print.hpp"
#include "host/cli/profile.hpp"
#include "host/cli/program.hpp"
#include "host/cli/tuning.hpp"
#include "host/library/layer/context.hpp"

namespace attn::cli {

namespace {

struct TuneOptions {
  ConfigCall call;
  double seconds = 0.2;
};

Json tried_json(const Tuned& t) {
  Json list = Json::list({});
  for (const Tried& c : t.tried)
    list.push_back({{"plan", tuning::plan_json(c.plan)},
                    {"ms", rounded(c.seconds * 1e3)},
                    {"automatic_ms", rounded(c.automatic * 1e3)},
                    {"gain", rounded(c.gain())}});
  return list;
}

void print_text(const Tuned& t, const std::string& fate) {
  Table table({"PLAN", "MS", "AUTOMATIC MS", "GAIN"}, "lrrr");
  for (const Tried& c : t.tried)
    table.add({tuning::plan_text(c.plan), fmt::format("{:.4g}", c.seconds * 1e3),
               fmt::format("{:.4g}", c.automatic * 1e3), fmt::format("{:.1f} %", 100 * c.gain())});
  print(table.text());
  print_line();
  const std::string instead =
      t.plan == Plan{} ? "" : fmt::format(" instead of {:.4g}", t.automatic * 1e3);
  print_line(
      wrapped(fmt::format("best: {}, {:.4g} ms{}, {} thread{}, {}. {}", tuning::plan_text(t.plan),
                          t.seconds * 1e3, instead, thread_count(), thread_count() == 1 ? "" : "s",
                          cpu::name(cpu::level()), fate),
              0));
}

int run_tune(const Globals& globals, const TuneOptions& o) {
  Workload w = workload_of(o.call);
  w.tuned = true;
  Progress progress(!globals.json && globals.quiet == 0);
  progress.say("making the layer");
  PreparedWorkload ready(w);
  ready.step();  // looks for a plan, and so knows what it is looked for by
  const tuning::PlanKey key = ready.context().impl().plan.key;
  use_tuned(ready.context(), false);
  const Tuned t =
      tuned(ready, o.seconds, [&](const Plan& plan) { progress.say(tuning::plan_text(plan)); });
  // Read again: others may have been found in the meantime.
  tuning::PlanFile file(tuning::PlanFile::default_path());
  std::string fate;
  if (t.plan == Plan{}) {
    const bool was = file.find(key) != nullptr;
    file.forget(key);
    fate = fmt::format("No choice gains {:.0f} %: {}", 100 * kWorthKeeping,
                       was ? "what was remembered is forgotten." : "nothing is remembered.");
    if (was && !file.save()) fate += " But " + file.path() + " cannot be written.";
  } else {
    std::string inputs;
    for (const auto& [name, shape] : w.inputs)
      inputs += (inputs.empty() ? "" : ", ") + name + " " + shape.to_string();
    file.put({key, t.plan, w.type, inputs, name(w.mode), t.seconds, t.automatic});
    if (!file.save())
      throw Failure("the plan cannot be kept: " +
                        (file.path().empty() ? "there is no cache directory"
                                             : file.path() + " cannot be written") +
                        "; set XDG_CACHE_HOME or HOME to a directory that can",
                    {.where = file.path()});
    fate = "Remembered in " + file.path() + " for --tuned.";
  }
  if (globals.json)
    print_line(Json({{"type", w.type},
                     {"mode", name(w.mode)},
                     {"threads", thread_count()},
                     {"isa", cpu::name(cpu::level())},
                     {"plan", tuning::plan_json(t.plan)},
                     {"ms", rounded(t.seconds * 1e3)},
                     {"automatic_ms", rounded(t.automatic * 1e3)},
                     {"file", file.path()},
                     {"tried", tried_json(t)}})
                   .dump(1));
  else
    print_text(t, fate);
  return kDone;
}

}  // namespace

Command tune_command(CLI::App& program, const Globals& globals) {
  CLI::App* app = program.add_subcommand(
      "tune", "Measures how a call is best cut here, and remembers it for --tuned");
  auto o = std::make_shared<TuneOptions>();
  app->add_option("CONFIG", o->call.config, "Configuration of the layer")->required();
  app->add_option("--section", o->call.section, "Where the layer stands in the file: a.b.c");
  app->add_option("--shape", o->call.shapes, "Shape of an input; repeatable")
      ->type_name("INPUT=2,16,64")
      ->allow_extra_args(false);
  app->add_option("--arg", o->call.arguments, "Argument of the call; repeatable")
      ->type_name("NAME=JSON")
      ->allow_extra_args(false);
  take_words(app->add_option("--mode", o->call.mode, "What is timed (default: inference)"),
             {"inference", "training-step"});
  take_number(app->add_option("--seconds", o->seconds, "How long each plan is timed (default 0.2)"),
              0, 3600);
  add_examples(*app, {"attn tune layer.json --shape inputs=8,512,768",
                      "attn bench layer.json --shape inputs=8,512,768 --tuned"});
  return {app, [&globals, o] { return run_tune(globals, *o); }};
}

}  // namespace attn::cli
