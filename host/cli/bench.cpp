// SPDX-License-Identifier: Apache-2.0
//
// attn bench: how long calls take, and which share that is of what bounds them on this machine: its arithmetic, or the
// bandwidth of the memory that they fit.
#include <fmt/format.h>
#include <attn/config.hpp>
#include <attn/error.hpp>
#include <attn/factory.hpp>
#include <attn/threads.hpp>

#include <algorithm>
#include <memory>

#include "core/cpu/level.hpp"
#include "core/kernels/limit.hpp"
#include "core/schema/text.hpp"
#include "host/cli/errors.hpp"
#include "host/cli/print.hpp"
#include "host/cli/profile.hpp"
#include "host/cli/program.hpp"
#include "host/cli/timing.hpp"
#include "host/cli/workload.hpp"
#include "host/library/tuning/plan_file.hpp"

namespace attn::cli {

namespace {

struct BenchOptions {
  ConfigCall call;
  std::string workloads;
  std::vector<std::string> only;
  double seconds = 1;
  bool profile = false, tuned = false;
  MatmulPrecision matmul = MatmulPrecision::float32;
  StorageKind weights = StorageKind::float32, histories = StorageKind::float32;
};

std::vector<Workload> chosen(const BenchOptions& o) {
  if (!o.call.config.empty() && !o.workloads.empty())
    throw InvalidArgument("CONFIG and --workloads exclude each other", {.where = "--workloads"});
  if (!o.call.config.empty()) return {workload_of(o.call)};
  if (!o.call.shapes.empty() || !o.call.arguments.empty())
    throw InvalidArgument("--shape and --arg need a CONFIG", {.where = "bench"});
  const std::string path = o.workloads.empty()
                               ? find_shared("workloads.json", "give a file by --workloads FILE")
                               : o.workloads;
  std::vector<Workload> all = read_workloads(path);
  schema::Names ids;
  for (const Workload& w : all) ids.push_back(w.id);
  for (const std::string& id : o.only)
    if (std::find(ids.begin(), ids.end(), id) == ids.end())
      throw InvalidArgument("--only: " + path + " has no workload '" + id + "'",
                            {.where = "--only",
                             .parameter = id,
                             .expected = "one of " + schema::name_list(ids),
                             .hint = schema::did_you_mean(id, ids)});
  if (!o.only.empty())
    all.erase(std::remove_if(all.begin(), all.end(),
                             [&](const Workload& w) {
                               return std::find(o.only.begin(), o.only.end(), w.id) == o.only.end();
                             }),
              all.end());
  return all;
}

// What one workload takes.
struct Result {
  Timing time;
  kernels::Work work;
  kernels::Limit limit;
  std::vector<OperatorTime> profile;
  double profiled = 0;  // seconds of the step that it is of
  size_t memory = 0;
  Plan plan{};

  [[nodiscard]] double gflops() const { return work.flops / time.least * 1e-9; }
  [[nodiscard]] double gbytes() const { return (work.read + work.written) / time.least * 1e-9; }
  [[nodiscard]] double share() const { return limit.seconds / time.least; }
};

Result result_of(const Workload& w, const kernels::Machine& machine, double seconds) {
  PreparedWorkload ready(w);
  Result r;
  r.time = measure([&] { ready.step(); }, seconds);
  r.profiled = ready.profiled_step();
  r.work = ready.work();
  r.limit = limit_of(r.work, machine);
  r.profile = ready.profile();
  r.memory = ready.peak_bytes();
  r.plan = plan_of(ready.context());
  return r;
}

Json json_of(const Workload& w, const Result& r, const kernels::Machine& machine,
             bool with_profile) {
  const kernels::Bandwidth& memory = machine.memory[static_cast<size_t>(r.limit.level)];
  Json row = {{"workload", w.id},
              {"type", w.type},
              {"mode", name(w.mode)},
              {"ms_min", rounded(r.time.least * 1e3)},
              {"ms_median", rounded(r.time.median * 1e3)},
              {"ms_first", rounded(r.time.first * 1e3)},
              {"ms_limit", rounded(r.limit.seconds * 1e3)},
              {"share", rounded(r.share())},
              {"bound", kernels::name(r.limit.bound)},
              {"level", kernels::name(r.limit.level)},
              {"threads", machine.threads},
              {"isa", cpu::name(cpu::level())},
              {"flops", rounded(r.work.flops)},
              {"weights_dtype", storage_name(w.weights)},
              {"state_dtype", storage_name(w.histories)},
              {"matmul_precision", machine.bfloat16 ? "bfloat16" : "float32"},
              {"bytes_read", r.work.read},
              {"bytes_written", r.work.written},
              {"working_memory", r.memory},
              {"plan", tuning::plan_json(r.plan)},
              {"gflops", rounded(r.gflops())},
              {"gbytes_s", rounded(r.gbytes())},
              {"peak_gflops", rounded(machine.peak)},
              {"read_gbytes_s", rounded(memory.read)},
              {"copy_gbytes_s", rounded(memory.copy)},
              {"reps", r.time.repetitions}};
  // With more threads the caller's own time says little.
  if (machine.threads == 1) row.set("cpu_ms_min", rounded(r.time.processor * 1e3));
  if (w.roofline_ms) row.set("roofline_share", rounded(*w.roofline_ms / (r.time.least * 1e3)));
  if (with_profile) row.set("profile", profile_json(r.profile, &machine));
  return row;
}

int run_bench(const Globals& globals, const BenchOptions& o) {
  std::vector<Workload> workloads = chosen(o);
  for (Workload& w : workloads) {
    w.weights = o.weights;
    w.histories = o.histories;
    w.matmul = o.matmul;
    w.tuned = o.tuned;
    if (w.histories != StorageKind::float32 && w.mode != BenchMode::decode)
      throw InvalidArgument(
          "--state-dtype: workload '" + w.id + "' keeps no state, its mode is " + name(w.mode),
          {.where = "--state-dtype",
           .expected = "mode decode",
           .hint = "--mode decode, or --only with workloads that decode"});
  }
  kernels::Machine machine;
  {
    const BenchLock lock;
    machine = kernels::measure_machine(thread_count(), o.matmul == MatmulPrecision::bfloat16);
  }
  constexpr const char* kRow = "{:<22} {:<20} {:>10} {:>10} {:>10} {:>9} {:>8} {:>6} {:>8}";
  // Not before there is a first row: a configuration that is refused leaves standard output empty.
  const auto print_head = [&] {
    print_line(fmt::format("{} threads, {}, {}", machine.threads, cpu::name(cpu::level()),
                           machine_text(machine)));
    print_line(paint(Colour::bold, fmt::format(kRow, "WORKLOAD", "TYPE", "MIN MS", "MEDIAN MS",
                                               "FIRST MS", "GFLOP/S", "GB/S", "BOUND", "SHARE")));
  };
  bool failed = false;
  Progress progress(!globals.json && globals.quiet == 0);
  for (size_t i = 0; i < workloads.size(); ++i) {
    const Workload& w = workloads[i];
    progress.say(w.id, i + 1, workloads.size());
    try {
      const Result r = result_of(w, machine, o.seconds);
      if (i == 0 && !globals.json) print_head();
      if (globals.json) {
        print_line(json_of(w, r, machine, o.profile).dump());
      } else {
        print_line(fmt::format(
            kRow, w.id, w.type, fmt::format("{:.4g}", r.time.least * 1e3),
            fmt::format("{:.4g}", r.time.median * 1e3), fmt::format("{:.4g}", r.time.first * 1e3),
            fmt::format("{:.1f}", r.gflops()), fmt::format("{:.1f}", r.gbytes()),
            kernels::name(r.limit.bound), fmt::format("{:.1f} %", 100 * r.share())));
        if (o.profile) print(profile_text(r.profile, r.profiled, r.memory, &machine) + "\n");
      }
    } catch (const std::exception& e) {
      // The others are still measured; with one configuration there are no others.
      if (!o.call.config.empty()) throw;
      failed = true;
      if (i == 0 && !globals.json) print_head();
      if (globals.json)
        print_line(Json{{"workload", w.id}, {"error", e.what()}}.dump());
      else
        print_line(fmt::format("{:<22} {}", w.id, paint(Colour::red, e.what())));
    }
    std::fflush(stdout);
  }
  return failed ? kCheckFailed : kDone;
}

}  // namespace

Command bench_command(CLI::App& program, const Globals& globals) {
  CLI::App* app = program.add_subcommand(
      "bench", "Times layers and tells their share of what the machine can do");
  auto o = std::make_shared<BenchOptions>();
  app->add_option("CONFIG", o->call.config, "Configuration of one layer instead of workloads");
  app->add_option("--workloads", o->workloads,
                  "JSON file of workloads (default: those that come along)")
      ->type_name("FILE");
  app->add_option("--only", o->only, "Ids of workloads, separated by commas")
      ->type_name("IDS")
      ->delimiter(',')
      ->allow_extra_args(false);
  app->add_option("--section", o->call.section,
                  "With CONFIG: where the layer stands in the file: a.b.c");
  app->add_option("--shape", o->call.shapes, "With CONFIG: shape of an input; repeatable")
      ->type_name("INPUT=2,16,64")
      ->allow_extra_args(false);
  app->add_option("--arg", o->call.arguments,
                  "With CONFIG: argument of the call, or cache_len and steps; repeatable")
      ->type_name("NAME=JSON")
      ->allow_extra_args(false);
  take_words(
      app->add_option("--mode", o->call.mode, "With CONFIG: what is timed (default: inference)"),
      {"inference", "decode", "training-step"});
  take_number(app->add_option("--seconds", o->seconds, "How long each is repeated (default 1)"), 0,
              3600);
  add_storage(*app, "--weights-dtype", o->weights,
              "How products read the weights (default: float32)");
  add_storage(*app, "--state-dtype", o->histories,
              "With decoding: how histories are kept (default: float32)");
  add_matmul_precision(*app, o->matmul);
  add_tuned(*app, o->tuned);
  app->add_flag("--profile", o->profile,
                "Also the operators of one step: time, flops, bytes, share");
  add_examples(*app, {"attn bench", "attn bench --only WORKLOAD,WORKLOAD --threads 1 --json",
                      "attn bench layer.json --shape inputs=8,512,768",
                      "attn bench layer.json --mode decode --shape inputs=1,1,1024 --arg "
                      "cache_len=4096 --arg steps=16"});
  return {app, [&globals, o] { return run_bench(globals, *o); }};
}

}  // namespace attn::cli
