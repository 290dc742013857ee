// SPDX-License-Identifier: Apache-2.0
//
// attn choose: what a layer of each type costs here for one shape, measured, with its memory, and with its error where it
// stands for exact attention.
#include <fmt/format.h>
#include <attn/factory.hpp>
#include <attn/threads.hpp>

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>

#include "core/cpu/level.hpp"
#include "core/schema/text.hpp"
#include "host/cli/candidate.hpp"
#include "host/cli/log_sink.hpp"
#include "host/cli/print.hpp"
#include "host/cli/profile.hpp"
#include "host/cli/program.hpp"
#include "host/cli/tensors.hpp"
#include "host/cli/timing.hpp"
#include "host/cli/types.hpp"
#include "host/library/convert/exact.hpp"

namespace attn::cli {

namespace {

constexpr int64_t kFirstPositions =
    64;                             // lengths are tried from here on, four times as many each time
constexpr double kWorstGrowth = 2;  // of the time, by the power of the length, before it is known
constexpr double kLeastAllowance = 0.1;  // seconds
constexpr int64_t kErrorPositions = 2048;

struct ChooseOptions {
  std::vector<int64_t> shape;
  std::string mode = "inference";
  std::vector<std::string> only;
  int64_t heads = 0;
  bool causal = false;
  double seconds = 10;
};

struct Measured {
  std::string type, settings;
  double seconds = 0;     // of a step: a call, a training step, a token of each sequence
  int64_t positions = 0;  // that it was measured at; fewer than asked for: more would take too long
  size_t workspace = 0, weights = 0, state = 0;
  double error = -1;      // below 0: none
  bool estimate = false;  // it is made to come near to exact attention
  std::string reason{};   // why there is none of all this
};

Wanted with_positions(const Wanted& wanted, int64_t positions) {
  Wanted w = wanted;
  if (w.shape.rank() == 3) {
    w.shape = {w.shape[0], positions, w.shape[2]};
  } else {
    const double side =
        std::sqrt(static_cast<double>(positions) / static_cast<double>(wanted.positions()));
    const auto part = [&](int64_t n) {
      return std::max<int64_t>(1, std::llround(static_cast<double>(n) * side));
    };
    w.shape = {w.shape[0], part(w.shape[1]), part(w.shape[2]), w.shape[3]};
  }
  return w;
}

// Root mean square of the difference over that of exact attention, of one example.
void set_error(Measured& m, PreparedWorkload& ready, const Candidate& c, const Wanted& wanted) {
  Attention& layer = ready.layer();
  if (wanted.shape.rank() != 3) return;
  const QuietLog quiet;
  const int64_t n = std::min(wanted.positions(), kErrorPositions);
  const Array x = normal_array({1, n, wanted.width()}, 3);
  const auto exact = conversion::exact_attention(layer, x.view(), wanted.causal);
  if (!exact) return;
  Json call = c.workload.call;
  call.erase("cache_len");
  call.erase("steps");
  const attn_type& type = layer.type();
  const CallArguments arguments(call);
  std::vector<Input> inputs{Input(type.inputs[0]->name, x.view())};
  Array keep;
  if (!c.workload.mask.is_null()) {
    keep = Array(ATTN_BOOL, {1, n, n});
    for (int64_t i = 0; i < keep.size(); ++i) keep.data<bool>()[i] = i % n <= i / n;
    for (uint32_t i = 0; i < type.n_inputs; ++i)
      if (type.inputs[i]->flags & ATTN_INPUT_MASK)
        inputs.emplace_back(type.inputs[i]->name, keep.view());
  }
  Context ctx;
  layer.forward(ctx, inputs, CallOptions{.seed = 0, .arguments = arguments.view()});
  const Array y = Array::copy_of(*ctx.output(type.outputs[0]->name));
  double off = 0, all = 0;
  for (int64_t i = 0; i < y.size(); ++i) {
    const double e = exact->output.data<float>()[i];
    off += (y.data<float>()[i] - e) * (y.data<float>()[i] - e);
    all += e * e;
  }
  m.error = std::sqrt(off / std::max(all, 1e-300));
  m.estimate = exact->estimate;
}

struct Spent {
  double step = 0, rest = 0;  // seconds: of the fastest step, and of getting ready
};

Spent measure_at(Measured& m, const Candidate& c, const Wanted& wanted, double allowance,
                 bool last) {
  Spent spent;
  const Clock::time_point start = Clock::now();
  set_seed(0);  // of what types draw when a layer is made: the same errors each time
  PreparedWorkload ready(c.workload);
  spent.rest = seconds_since(start);
  const auto step = [&] { ready.step(); };
  const auto timed = [&] {
    const BenchLock lock;
    const Clock::time_point begin = Clock::now();
    step();
    return seconds_since(begin);
  };
  const double first = timed();
  if (last && 6 * first < allowance)
    spent.step = measure(step, allowance / 2).least;
  else
    spent.step = std::min(first, timed());
  m.seconds = spent.step / static_cast<double>(ready.steps());
  m.positions = wanted.positions();
  m.workspace = ready.peak_bytes();
  m.state = ready.state_bytes();
  m.weights = 0;
  for (const WeightInfo& w : ready.layer().weights())
    if (!w.not_stored) m.weights += 4 * static_cast<size_t>(w.shape.elements());
  try {
    if (last) set_error(m, ready, c, wanted);
  } catch (const InvalidArgument&) {
    // Not for that length or without a second input: it stays unknown.
  }
  return spent;
}

// At growing lengths, so that a type that would take too long is seen to before it does.
Measured measured(const TypeEntry& entry, const Wanted& wanted, double allowance) {
  Measured m;
  m.type = entry.type->id;
  const int64_t all = wanted.positions();
  double before = 0, growth = kWorstGrowth;
  const Clock::time_point start = Clock::now();
  for (int64_t n = std::min(all, kFirstPositions);; n = std::min(all, 4 * n)) {
    const Wanted now = with_positions(wanted, n);
    const Candidate c = candidate(entry, now);
    m.settings = c.settings;
    m.reason = c.reason;
    if (!m.reason.empty()) return m;
    try {
      const Spent spent = measure_at(m, c, now, allowance, n == all);
      if (n == all) return m;
      if (before > 0)
        growth = std::clamp(std::log(spent.step / before) / std::log(4.0), 0.5, 3.0) + 0.3;
      before = spent.step;
      const double times = static_cast<double>(std::min(all, 4 * n)) / static_cast<double>(n);
      // Two steps; getting ready takes longer only where a history is filled.
      const double next = 2 * spent.step * std::pow(times, growth) +
                          spent.rest * (wanted.mode == BenchMode::decode ? 2 * times : 1);
      if (next + seconds_since(start) > 2 * allowance) return m;
    } catch (const std::exception& e) {
      m.reason = e.what();
      return m;
    }
  }
}

Json row_json(const Measured& m, const Wanted& wanted) {
  const bool complete = m.positions == wanted.positions();
  return {{"type", m.type},
          {"settings", m.settings},
          {"ms", complete ? Json(rounded(m.seconds * 1e3)) : Json()},
          {"measured_positions", m.positions},
          {"measured_ms", rounded(m.seconds * 1e3)},
          {"working_memory", m.workspace},
          {"weight_bytes", m.weights},
          {"state_bytes", m.state},
          {"error", m.error >= 0 ? Json(rounded(m.error)) : Json()},
          {"estimate", m.estimate}};
}

void print_rows(const std::vector<Measured>& rows, const Wanted& wanted) {
  const bool decodes = wanted.mode == BenchMode::decode;
  Table table({"TYPE", "MS", "TOKENS/S", "WORKING MEMORY", "WEIGHTS", "STATE", "ERROR", "SETTINGS"},
              "lrrrrrrl");
  const auto size = [](size_t bytes) {
    return bytes ? human_bytes(static_cast<double>(bytes)) : std::string("-");
  };
  const double tokens = static_cast<double>(wanted.shape[0] * (decodes ? 1 : wanted.positions()));
  std::string short_ones;
  for (const Measured& m : rows) {
    const bool complete = m.positions == wanted.positions();
    if (!complete)
      short_ones += fmt::format("{}{} ({:.3g} ms for {})", short_ones.empty() ? "" : ", ", m.type,
                                m.seconds * 1e3, grouped(m.positions));
    else
      table.add({m.type, fmt::format("{:.4g}", m.seconds * 1e3), human_count(tokens / m.seconds),
                 size(m.workspace), size(m.weights), size(m.state),
                 m.error >= 0 ? fmt::format("{:.1e}{}", m.error, m.estimate ? " *" : "") : "-",
                 m.settings.empty() ? "-" : m.settings});
  }
  print(table.text());
  const char* step = decodes                                   ? "one token of each sequence"
                     : wanted.mode == BenchMode::training_step ? "forward and backward"
                                                               : "one call";
  print_line(wrapped(fmt::format("MS: {}, the least of some. ERROR: root mean square of the "
                                 "difference from exact softmax attention with the same random "
                                 "weights, over that of its output; * a type that estimates it; - "
                                 "a type that computes something else.",
                                 step),
                     0));
  if (!short_ones.empty())
    print_line(
        wrapped("Not measured in full, more --seconds would: " + short_ones + " positions.", 2));
}

void print_left_out(const std::vector<Measured>& rows) {
  std::map<std::string, std::string> by_reason;
  for (const Measured& m : rows) {
    std::string& list = by_reason[m.reason];
    list += (list.empty() ? "" : ", ") + m.type;
  }
  for (const auto& [reason, types] : by_reason)
    print_line("  - " + wrapped(types + ": " + visible(reason), 4));
}

// Heads of 64 numbers, or as many as divide the width.
int64_t usual_heads(int64_t width) {
  for (int64_t heads = std::max<int64_t>(1, width / 64);; --heads)
    if (width % heads == 0) return heads;
}

Wanted wanted_of(const ChooseOptions& o) {
  Wanted w;
  for (const int64_t n : o.shape) {
    if (n < 1 || o.shape.size() < 3 || o.shape.size() > 4)
      throw InvalidArgument(
          "--shape must be batch,positions,width or batch,height,width,channels, all above 0",
          {.where = "--shape", .expected = "for example 1,1024,512 or 1,32,32,64"});
    w.shape.push_back(n);
  }
  w.mode = bench_mode(o.mode);
  w.causal = o.causal || w.mode == BenchMode::decode;
  w.heads = o.heads > 0 ? o.heads : usual_heads(w.width());
  if (w.width() % w.heads != 0)
    throw InvalidArgument(
        fmt::format("--heads: {} heads do not divide the width {}", w.heads, w.width()),
        {.where = "--heads", .hint = "choose a divisor, or leave --heads out"});
  if (w.mode == BenchMode::decode && w.shape.rank() != 3)
    throw InvalidArgument("--mode decode needs a --shape batch,positions,width",
                          {.where = "--shape"});
  return w;
}

int run_choose(const Globals& globals, const ChooseOptions& o) {
  const Wanted wanted = wanted_of(o);
  std::vector<std::string> types = list_attention_types();
  for (const std::string& name : o.only) static_cast<void>(find_attention_type(name));
  if (!o.only.empty()) types = o.only;
  const Clock::time_point start = Clock::now();
  Progress progress(!globals.json && globals.quiet == 0);
  // Those that cannot take part need no time.
  std::vector<Measured> rows, left_out;
  std::vector<TypeEntry> fitting;
  for (const std::string& name : types) {
    const TypeEntry entry = find_attention_type(name);
    const Candidate c = candidate(entry, wanted);
    if (c.reason.empty())
      fitting.push_back(entry);
    else
      left_out.push_back({.type = name, .settings = {}, .reason = c.reason});
  }
  for (size_t i = 0; i < fitting.size(); ++i) {
    progress.say(fitting[i].type->id, i + 1, fitting.size());
    // What one leaves of its share is for those that follow.
    const double allowance = std::max(kLeastAllowance, (o.seconds - seconds_since(start)) /
                                                           static_cast<double>(fitting.size() - i));
    const Measured m = measured(fitting[i], wanted, allowance);
    (m.reason.empty() ? rows : left_out).push_back(m);
  }
  std::stable_sort(rows.begin(), rows.end(),
                   [](const Measured& a, const Measured& b) { return a.seconds < b.seconds; });
  if (globals.json) {
    Json list = Json::list({}), out = Json::list({});
    for (const Measured& m : rows) list.push_back(row_json(m, wanted));
    for (const Measured& m : left_out) out.push_back({{"type", m.type}, {"reason", m.reason}});
    print_line(Json{
        {"shape", wanted.shape.to_vector()},
        {"heads", wanted.heads},
        {"causal", wanted.causal},
        {"mode", name(wanted.mode)},
        {"isa", cpu::name(cpu::level())},
        {"threads", thread_count()},
        {"seconds", rounded(seconds_since(start))},
        {"types", list},
        {"left_out",
         out}}.dump(1));
    return kDone;
  }
  print_line(fmt::format("{}{}, {}, heads: {}; {}, threads: {}; {} types in {:.1f} s",
                         wanted.causal ? "causal " : "", name(wanted.mode),
                         wanted.shape.to_string(), wanted.heads, cpu::name(cpu::level()),
                         thread_count(), rows.size(), seconds_since(start)));
  print_line();
  print_rows(rows, wanted);
  if (!left_out.empty()) {
    print_line("\n" + paint(Colour::bold, "Left out"));
    print_left_out(left_out);
  }
  return kDone;
}

}  // namespace

Command choose_command(CLI::App& program, const Globals& globals) {
  CLI::App* app = program.add_subcommand(
      "choose", "What a layer of each type costs here for one shape, measured");
  auto o = std::make_shared<ChooseOptions>();
  app->add_option(
         "--shape", o->shape,
         "batch,positions,width or batch,height,width,channels; of decoding, the positions "
         "that are there before")
      ->type_name("1,1024,512")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->required();
  app->add_option("--heads", o->heads, "Heads (default: of 64 numbers each)")
      ->type_name("N")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 20));
  app->add_flag("--causal", o->causal, "Only what can be causal, made so");
  app->add_option("--mode", o->mode, "inference (default), decode or training-step")
      ->check(CLI::IsMember({"inference", "decode", "training-step"}));
  app->add_option("--only", o->only, "These types, separated by commas")
      ->type_name("TYPES")
      ->delimiter(',')
      ->allow_extra_args(false);
  app->add_option("--seconds", o->seconds, "About how long all of it may take (default 10)")
      ->check(CLI::Range(0.0, 3600.0));
  add_examples(*app,
               {"attn choose --shape 1,1024,512", "attn choose --shape 1,4096,512 --mode decode",
                "attn choose --shape 8,256,256 --causal --mode training-step --seconds 20",
                "attn choose --shape 1,32,32,64"});
  return {app, [&globals, o] { return run_choose(globals, *o); }};
}

}  // namespace attn::cli
