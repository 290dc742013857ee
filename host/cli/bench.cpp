// SPDX-License-Identifier: Apache-2.0
//
// attn bench: how long calls take, and which share that is of what bounds them on this machine: its arithmetic, or the
// bandwidth of the memory that they fit.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>
#include <attn/config.hpp>
#include <attn/error.hpp>
#include <attn/factory.hpp>
#include <attn/threads.hpp>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <limits>
#include <memory>

#include "core/cpu/level.hpp"
#include "core/kernels/limit.hpp"
#include "core/schema/text.hpp"
#include "host/cli/config_file.hpp"
#include "host/cli/errors.hpp"
#include "host/cli/print.hpp"
#include "host/cli/profile.hpp"
#include "host/cli/program.hpp"
#include "host/cli/types.hpp"
#include "host/cli/workload.hpp"

namespace attn::cli {

namespace {

using Clock = std::chrono::steady_clock;

struct BenchOptions {
  std::string config, section, workloads, mode = "inference";
  std::vector<std::string> only, shapes, arguments;
  double seconds = 1;
  bool profile = false;
};

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// One measurement at a time on this machine: the same file as tests/bench/harness.py locks.
class BenchLock {
 public:
  BenchLock() {
    std::string directory = "/tmp";
    for (const char* name : {"TMP", "TEMP", "TMPDIR"})
      if (const char* value = std::getenv(name); value && *value && access(value, W_OK) == 0)
        directory = value;
    file_ = open((directory + "/attn-bench.lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    // A lock that cannot be had is no reason not to measure.
    if (file_ >= 0) static_cast<void>(flock(file_, LOCK_EX));
  }
  ~BenchLock() {
    if (file_ >= 0) close(file_);
  }
  BenchLock(const BenchLock&) = delete;
  BenchLock& operator=(const BenchLock&) = delete;

 private:
  int file_ = -1;
};

struct Timing {
  double first = 0, least = 0, median = 0;
  double processor = 0;  // least processor time of the calling thread
  size_t repetitions = 0;
};

double thread_seconds() {
  timespec t{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

// As harness.py: once, once more to warm up, then about a second (`budget`) and at least three times.
Timing measure(PreparedWorkload& workload, double budget) {
  const double most = 8 * budget;
  const BenchLock lock;
  Timing t;
  Clock::time_point start = Clock::now();
  workload.step();
  t.first = seconds_since(start);
  if (t.first < 3) workload.step();
  std::vector<double> times;
  const Clock::time_point begin = Clock::now();
  t.processor = std::numeric_limits<double>::infinity();
  for (;;) {
    const double before = thread_seconds();
    start = Clock::now();
    workload.step();
    times.push_back(seconds_since(start));
    t.processor = std::min(t.processor, thread_seconds() - before);
    const double all = seconds_since(begin);
    if ((all > budget && times.size() >= 3) || times.size() >= 400 || all > most) break;
  }
  std::sort(times.begin(), times.end());
  const size_t n = times.size();
  t.least = times.front();
  t.median = n % 2 ? times[n / 2] : (times[n / 2 - 1] + times[n / 2]) / 2;
  t.repetitions = n;
  return t;
}

Workload from_config(const BenchOptions& o) {
  const ConfigFile config(o.config, o.section);
  config.validate();
  Workload w;
  w.id = std::filesystem::path(o.config).stem();
  w.type = config.type();
  w.config = config.parameters();
  w.mode = bench_mode(o.mode);
  const attn_type& type = *find_attention_type(w.type).type;
  const auto shapes = input_shapes(type, w.config, parse_shapes(type, o.shapes));
  for (uint32_t i = 0; i < type.n_inputs; ++i)
    if (shapes[i]) w.inputs.emplace_back(type.inputs[i]->name, *shapes[i]);
  for (const std::string& text : o.arguments) {
    const NameAndText part = split_assignment("--arg", text, "NAME=JSON");
    w.call.set(part.name, parse_config(part.text, "--arg " + part.name));
  }
  return w;
}

std::vector<Workload> chosen(const BenchOptions& o) {
  if (!o.config.empty() && !o.workloads.empty())
    throw InvalidArgument("CONFIG and --workloads exclude each other", {.where = "--workloads"});
  if (!o.config.empty()) return {from_config(o)};
  if (!o.shapes.empty() || !o.arguments.empty())
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

double rounded(double x) { return std::strtod(fmt::format("{:.6g}", x).c_str(), nullptr); }

std::string rates(const kernels::Machine& machine, double kernels::Bandwidth::*rate) {
  std::string text;
  for (int i = 0; i < kernels::kMemoryLevels; ++i)
    if (const double x = machine.memory[static_cast<size_t>(i)].*rate; x > 0)
      text += fmt::format("{}{} {:.1f}", text.empty() ? "" : ", ",
                          kernels::name(static_cast<kernels::MemoryLevel>(i)), x);
  return text;
}

// What one workload takes.
struct Result {
  Timing time;
  kernels::Work work;
  kernels::Limit limit;
  std::vector<OperatorTime> profile;
  double profiled = 0;  // seconds of the step that the profile is of
  size_t memory = 0;

  [[nodiscard]] double gflops() const { return work.flops / time.least * 1e-9; }
  [[nodiscard]] double gbytes() const { return (work.read + work.written) / time.least * 1e-9; }
  [[nodiscard]] double share() const { return limit.seconds / time.least; }
};

Result result_of(const Workload& w, const kernels::Machine& machine, double seconds) {
  PreparedWorkload ready(w);
  Result r;
  r.time = measure(ready, seconds);
  const Clock::time_point start = Clock::now();
  r.work = ready.work();
  r.profiled = seconds_since(start);
  r.limit = limit_of(r.work, machine);
  r.profile = ready.profile();
  r.memory = ready.peak_bytes();
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
              {"bytes_read", r.work.read},
              {"bytes_written", r.work.written},
              {"working_memory", r.memory},
              {"gflops", rounded(r.gflops())},
              {"gbytes_s", rounded(r.gbytes())},
              {"peak_gflops", rounded(machine.peak)},
              {"read_gbytes_s", rounded(memory.read)},
              {"copy_gbytes_s", rounded(memory.copy)},
              {"reps", r.time.repetitions}};
  // With more threads the caller's own time says little.
  if (machine.threads == 1) row.set("cpu_ms_min", rounded(r.time.processor * 1e3));
  if (w.roofline_ms) row.set("roofline_share", rounded(*w.roofline_ms / (r.time.least * 1e3)));
  if (with_profile) row.set("profile", profile_json(r.profile));
  return row;
}

int run_bench(const Globals& globals, const BenchOptions& o) {
  const std::vector<Workload> workloads = chosen(o);
  kernels::Machine machine;
  {
    const BenchLock lock;
    machine = kernels::measure_machine(thread_count());
  }
  constexpr const char* kRow = "{:<22} {:<20} {:>10} {:>10} {:>10} {:>9} {:>8} {:>6} {:>8}";
  // Not before there is a first row: a configuration that is refused leaves standard output empty.
  const auto print_head = [&] {
    print_line(fmt::format(
        "{} threads, {}, FMA peak {:.1f} GFLOP/s; GB/s of reads: {}; of copies: {}",
        machine.threads, cpu::name(cpu::level()), machine.peak,
        rates(machine, &kernels::Bandwidth::read), rates(machine, &kernels::Bandwidth::copy)));
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
        if (o.profile) print(profile_text(r.profile, r.profiled, r.memory) + "\n");
      }
    } catch (const std::exception& e) {
      // The others are still measured; with one configuration there are no others.
      if (!o.config.empty()) throw;
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
  app->add_option("CONFIG", o->config, "Configuration of one layer instead of workloads");
  app->add_option("--workloads", o->workloads,
                  "JSON file of workloads (default: those that come along)")
      ->type_name("FILE");
  app->add_option("--only", o->only, "Ids of workloads, separated by commas")
      ->type_name("IDS")
      ->delimiter(',')
      ->allow_extra_args(false);
  app->add_option("--section", o->section,
                  "With CONFIG: where the layer stands in the file: a.b.c");
  app->add_option("--shape", o->shapes, "With CONFIG: shape of an input; repeatable")
      ->type_name("INPUT=2,16,64")
      ->allow_extra_args(false);
  app->add_option("--arg", o->arguments,
                  "With CONFIG: argument of the call, or cache_len and steps; repeatable")
      ->type_name("NAME=JSON")
      ->allow_extra_args(false);
  take_words(app->add_option("--mode", o->mode, "With CONFIG: what is timed (default: inference)"),
             {"inference", "decode", "training-step"});
  take_number(app->add_option("--seconds", o->seconds, "How long each is repeated (default 1)"), 0,
              3600);
  app->add_flag("--profile", o->profile,
                "Also the operators of one step: time, flops, bytes, share");
  add_examples(*app, {"attn bench", "attn bench --only WORKLOAD,WORKLOAD --threads 1 --json",
                      "attn bench layer.json --shape inputs=8,512,768",
                      "attn bench layer.json --mode decode --shape inputs=1,1,1024 --arg "
                      "cache_len=4096 --arg steps=16"});
  return {app, [&globals, o] { return run_bench(globals, *o); }};
}

}  // namespace attn::cli
