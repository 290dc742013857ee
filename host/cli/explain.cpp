// SPDX-License-Identifier: Apache-2.0
//
// attn explain: one call of a layer taken apart: its operators with what they take and could take at best, which code
// ran and why, and what costs more than it has to. Also as a picture.
#include <fmt/format.h>
#include <attn/factory.hpp>
#include <attn/threads.hpp>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <optional>

#include "core/cpu/level.hpp"
#include "core/weights/atomic_file.hpp"
#include "host/cli/explained.hpp"
#include "host/cli/flame.hpp"
#include "host/cli/print.hpp"
#include "host/cli/profile.hpp"
#include "host/cli/program.hpp"
#include "host/cli/timing.hpp"
#include "host/library/tuning/plan_file.hpp"

namespace attn::cli {

namespace {

struct ExplainOptions {
  ConfigCall call;
  std::string svg;
  double seconds = 0.5;
  bool tuned = false;
  MatmulPrecision matmul = MatmulPrecision::float32;
};

std::string levels_text() {
  std::string text;
  for (const cpu::Level level : cpu::available())
    text += (text.empty() ? "" : ", ") + std::string(cpu::name(level));
  return text;
}

std::string shapes_text(const Workload& w) {
  std::string text;
  for (const auto& [name, shape] : w.inputs)
    text += (text.empty() ? "" : ", ") + name + " " + shape.to_string();
  return text;
}

std::string numbers_of(const std::vector<size_t>& operators) {
  std::string text;
  for (const size_t i : operators) text += (text.empty() ? "" : ", ") + std::to_string(i + 1);
  return text;
}

double share_of(const Explained& e) { return e.limit.seconds / e.seconds; }

Json explain_json(const Workload& w, const Explained& e, const kernels::Machine& machine) {
  Json inputs = Json::object(), levels = Json::list({}), advice = Json::list({});
  for (const auto& [name, shape] : w.inputs) inputs.set(name, shape.to_vector());
  for (const cpu::Level level : cpu::available()) levels.push_back(cpu::name(level));
  for (const Advice& a : e.advice) {
    Json operators = Json::list({});
    for (const size_t i : a.operators) operators.push_back(i);
    advice.push_back({{"kind", a.kind},
                      {"text", a.text},
                      {"operators", operators},
                      {"ms", a.seconds > 0 ? Json(rounded(a.seconds * 1e3)) : Json()}});
  }
  return {{"type", w.type},
          {"mode", name(w.mode)},
          {"config", w.config},
          {"inputs", inputs},
          {"isa", cpu::name(cpu::level())},
          {"isa_because", why_level()},
          {"isa_available", levels},
          {"processor", cpu::describe()},
          {"threads", machine.threads},
          {"peak_gflops", rounded(machine.peak)},
          {"ms", rounded(e.seconds * 1e3)},
          {"calls", e.calls},
          {"ms_outside", rounded((e.seconds - e.inside()) * 1e3)},
          {"ms_limit", rounded(e.limit.seconds * 1e3)},
          {"share_of_limit", rounded(share_of(e))},
          {"bound", kernels::name(e.limit.bound)},
          {"level", kernels::name(e.limit.level)},
          {"flops", rounded(e.work.flops)},
          {"bytes_read", e.work.read},
          {"bytes_written", e.work.written},
          {"working_memory", e.workspace},
          {"weight_bytes", e.weights},
          {"state_bytes", e.state},
          {"slices", e.slices()},
          {"plan", tuning::plan_json(e.plan)},
          {"plan_from", e.plan_from},
          {"operators", profile_json(e.profile, &machine)},
          {"warnings", advice}};
}

// What operators say of the way they took, equal ones together.
void print_ways(const Explained& e) {
  std::vector<std::pair<std::string, std::vector<size_t>>> ways;
  for (size_t i = 0; i < e.profile.size(); ++i) {
    const std::string& way = e.profile[i].way;
    if (way.empty()) continue;
    const auto same =
        std::find_if(ways.begin(), ways.end(), [&](const auto& w) { return w.first == way; });
    if (same == ways.end())
      ways.push_back({way, {i}});
    else
      same->second.push_back(i);
  }
  if (ways.empty()) return;
  print_line("\n" + paint(Colour::bold, "Ways taken"));
  Table table({"  #", "WAY"});
  for (const auto& [way, operators] : ways) table.add({"  " + numbers_of(operators), way});
  print(table.text());
}

void print_advice(const Explained& e) {
  print_line("\n" + paint(Colour::bold, "Costs more than it has to"));
  if (e.advice.empty()) print_line("  nothing found");
  for (const Advice& a : e.advice) {
    std::string where = a.operators.empty() ? "" : "# " + numbers_of(a.operators) + ": ";
    if (a.seconds > 0)
      where =
          fmt::format("up to {:.3f} ms, {:.0f} %; ", a.seconds * 1e3, 100 * a.seconds / e.seconds) +
          where;
    print_line("  - " + wrapped(where + a.text + ".", 4));
  }
}

void print_text(const Workload& w, const Explained& e, const kernels::Machine& machine) {
  const auto fact = [](const char* what, const std::string& text) {
    print_line(fmt::format("{:<16} ", what) + wrapped(text, 17));
  };
  fact("layer", paint(Colour::bold, w.type) + ", " + name(w.mode) +
                    (w.mode == BenchMode::decode ? ": one token of each sequence" : ""));
  fact("inputs", shapes_text(w));
  fact("instruction set",
       fmt::format("{}: {} ({})", cpu::name(cpu::level()), why_level(), levels_text()));
  fact("threads", std::to_string(machine.threads));
  fact("machine", machine_text(machine));
  fact("call", fmt::format("{:.3f} ms, the fastest of {}; {:.3f} ms of it outside operators",
                           e.seconds * 1e3, e.calls, (e.seconds - e.inside()) * 1e3));
  fact("least possible",
       fmt::format("{:.3f} ms for {} flops and {}, each byte once; bound by {} in {}: {:.0f} % of "
                   "that is reached",
                   e.limit.seconds * 1e3, human_count(e.work.flops),
                   human_bytes(e.work.read + e.work.written), kernels::name(e.limit.bound),
                   kernels::name(e.limit.level), 100 * share_of(e)));
  fact("memory",
       fmt::format(
           "working memory {}, weights {}{}", human_bytes(static_cast<double>(e.workspace)),
           human_bytes(static_cast<double>(e.weights)),
           e.state ? ", state " + human_bytes(static_cast<double>(e.state)) : std::string()));
  fact("plan", tuning::plan_text(e.plan) + ": " + e.plan_from);
  if (e.slices() > 1)
    fact("slices", fmt::format("the batch went through in {} slices that stay in the caches; rows "
                               "below are sums over them, shapes those of one",
                               e.slices()));
  print_line();
  print(profile_table(e.profile, &machine).text());
  print_line(paint(Colour::dim,
                   "OF BOUND: the least time by the operator's flops at the FMA peak "
                   "or its bytes at the bandwidth of the memory they fit, over MS"));
  print_ways(e);
  print_advice(e);
}

int run_explain(const Globals& globals, const ExplainOptions& o) {
  if (!o.svg.empty() && std::filesystem::path(o.svg).extension() != ".svg")
    throw InvalidArgument(
        "--svg: '" + o.svg + "' must end in .svg",
        {.where = "--svg", .value = o.svg, .expected = "a path that ends in .svg"});
  std::optional<weights::AtomicFile>
      picture;  // now, because a place where nothing can be written is an error
  if (!o.svg.empty()) picture.emplace(o.svg);
  Workload w = workload_of(o.call);
  w.matmul = o.matmul;
  w.tuned = o.tuned;
  Progress progress(!globals.json && globals.quiet == 0);
  progress.say("measuring the machine");
  kernels::Machine machine;
  {
    const BenchLock lock;
    machine = kernels::measure_machine(thread_count(), o.matmul == MatmulPrecision::bfloat16);
  }
  progress.say("running the call");
  const Explained e = explained(w, machine, o.seconds);
  if (picture) {
    const std::string text =
        flame_svg(e, machine,
                  {fmt::format("{}: {:.3f} ms", w.type, e.seconds * 1e3),
                   fmt::format("{}; {}; {}, {} thread{}, {:.0f} GFLOP/s at most", shapes_text(w),
                               name(w.mode), cpu::name(cpu::level()), machine.threads,
                               machine.threads == 1 ? "" : "s", machine.peak)});
    picture->write(text.data(), text.size());
    picture->commit();
  }
  if (globals.json)
    print_line(explain_json(w, e, machine).dump(1));
  else
    print_text(w, e, machine);
  return kDone;
}

}  // namespace

Command explain_command(CLI::App& program, const Globals& globals) {
  CLI::App* app = program.add_subcommand(
      "explain", "One call taken apart: operators, time, limits, and what costs too much");
  auto o = std::make_shared<ExplainOptions>();
  app->add_option("CONFIG", o->call.config, "Configuration of the layer")->required();
  app->add_option("--section", o->call.section, "Where the layer stands in the file: a.b.c");
  app->add_option("--shape", o->call.shapes, "Shape of an input; repeatable")
      ->type_name("INPUT=2,16,64")
      ->allow_extra_args(false);
  app->add_option("--input", o->call.inputs,
                  "A tensor for an input in place of a random one, such as a table that the score "
                  "program has calls bring, whose numbers say what is skipped; repeatable")
      ->type_name("NAME=FILE[:TENSOR]")
      ->allow_extra_args(false);
  app->add_option("--arg", o->call.arguments,
                  "Argument of the call, or cache_len and steps of decoding; repeatable")
      ->type_name("NAME=JSON")
      ->allow_extra_args(false);
  take_words(app->add_option("--mode", o->call.mode, "What is looked at (default: inference)"),
             {"inference", "decode", "training-step"});
  take_number(
      app->add_option("--seconds", o->seconds, "How long the call is repeated (default 0.5)"), 0,
      3600);
  add_matmul_precision(*app, o->matmul);
  add_tuned(*app, o->tuned);
  app->add_option("--svg", o->svg, "Also a picture of the call")->type_name("FILE");
  add_examples(*app,
               {"attn explain layer.json --shape inputs=8,512,768",
                "attn explain layer.json --shape inputs=8,512,768 --svg call.svg",
                "attn explain packed.json --shape inputs=1,4096,512 --input doc=documents.npy",
                "attn explain layer.json --mode decode --shape inputs=1,1,1024 --arg "
                "cache_len=4096 --arg steps=1"});
  return {app, [&globals, o] { return run_explain(globals, *o); }};
}

}  // namespace attn::cli
