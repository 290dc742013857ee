// SPDX-License-Identifier: Apache-2.0
//
// attn run: one call of a layer, tensors from and to files.
#include <fmt/format.h>
#include <attn/factory.hpp>
#include <attn/log.hpp>
#include <attn/plan.hpp>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>

#include "core/schema/input_names.hpp"
#include "host/cli/call_arguments.hpp"
#include "host/cli/config_file.hpp"
#include "host/cli/isolation.hpp"
#include "host/cli/observe.hpp"
#include "host/cli/print.hpp"
#include "host/cli/profile.hpp"
#include "host/cli/program.hpp"
#include "host/cli/tensors.hpp"
#include "host/cli/types.hpp"

namespace attn::cli {

namespace {

struct RunOptions {
  std::string config, section, weights;
  std::vector<std::string> inputs, arguments, outputs;
  bool training = false, profile = false, isolate = false, tuned = false;
  double deadline = 0;
  uint64_t seed = 0;
  StorageKind weights_kind = StorageKind::float32;
  MatmulPrecision matmul = MatmulPrecision::float32;
  ObserveOptions observe;
};

struct Statistics {
  double smallest = 0, largest = 0, mean = 0;
};

Statistics statistics(const ConstView& view) {
  const Array a = Array::copy_of(view).astype(ATTN_F64);
  Statistics s;
  const double* p = a.data<double>();
  if (a.size() == 0) return s;
  s.smallest = s.largest = p[0];
  for (int64_t i = 0; i < a.size(); ++i) {
    s.smallest = std::min(s.smallest, p[i]);
    s.largest = std::max(s.largest, p[i]);
    s.mean += p[i] / static_cast<double>(a.size());
  }
  return s;
}

// The sign of a NaN has no meaning.
double plain(double x) { return std::isnan(x) ? std::fabs(x) : x; }

Json summary_json(const std::vector<NamedOutput>& tensors) {
  Json list = Json::list({});
  for (const NamedOutput& o : tensors) {
    const Statistics s = statistics(o.value.view());
    list.push_back({{"name", o.name},
                    {"shape", o.value.shape().to_vector()},
                    {"dtype", dtype_name(o.value.dtype())},
                    {"min", json_number(s.smallest)},
                    {"max", json_number(s.largest)},
                    {"mean", json_number(s.mean)}});
  }
  return list;
}

void print_summary_text(const std::vector<NamedOutput>& tensors) {
  for (const NamedOutput& o : tensors) {
    const Statistics s = statistics(o.value.view());
    print_line(fmt::format("{} {} {}: min {:.6g}, max {:.6g}, mean {:.6g}", o.name,
                           o.value.shape().to_string(), dtype_name(o.value.dtype()),
                           plain(s.smallest), plain(s.largest), plain(s.mean)));
  }
}

void print_summary(const Globals& globals, const Attention& layer, const Context& ctx,
                   const std::vector<NamedOutput>& outputs,
                   const std::vector<NamedOutput>& observed, const RunOptions& options,
                   double seconds) {
  if (globals.json) {
    Json result = {
        {"type", layer.type().id}, {"name", layer.name()}, {"outputs", summary_json(outputs)}};
    if (!options.observe.names.empty()) result.set("observed", summary_json(observed));
    if (options.profile) result.set("profile", profile_json(ctx.profile()));
    return print_line(result.dump(1));
  }
  print_summary_text(outputs);
  print_summary_text(observed);
  if (options.profile) print("\n" + profile_text(ctx.profile(), seconds, ctx.peak_bytes()));
}

// step: told before each call into the plugin.
template <class Step>
int run_layer(const Globals& globals, const RunOptions& options, Step step) {
  // Everything that the user gave is looked at before the first computation.
  const ConfigFile config(options.config, options.section);
  config.validate();
  const TypeEntry entry = find_attention_type(config.type());
  const attn_type& type = *entry.type;
  std::vector<OutputFile> files;
  for (const std::string& text : options.outputs) files.push_back(parse_output(type, text));
  const Observe observe = parse_observe(options.observe);
  CallArguments arguments;
  for (const std::string& text : options.arguments) arguments.add_assignment(text);
  const std::vector<NameAndText> names = parse_inputs(type, options.inputs, config.parameters());
  Progress progress(!globals.json && globals.quiet == 0);
  progress.say("reading inputs");
  std::vector<Array> arrays;
  for (const NameAndText& n : names) arrays.push_back(read_tensor(n.text));
  std::vector<Input> inputs;
  NamedShapes shapes;
  for (size_t i = 0; i < arrays.size(); ++i) {
    inputs.emplace_back(names[i].name, arrays[i].view());
    shapes.emplace_back(names[i].name, arrays[i].shape());
  }

  step("create", type.id, entry.library);
  const auto layer = config.create(options.seed);
  std::vector<std::optional<Shape>> by_order(type.n_inputs);
  for (const auto& [name, shape] : shapes)
    if (const uint32_t i = schema::find_input(type, name); i < type.n_inputs) by_order[i] = shape;
  const CallOptions call{
      .training = options.training, .seed = options.seed, .arguments = arguments.view()};
  step("build", type.id, entry.library);
  layer->build(by_order, {.seed = options.seed, .weights = options.weights_kind});
  const std::vector<WeightInfo> weights = layer->weights();
  if (!options.weights.empty()) {
    progress.say("reading weights");
    layer->load(options.weights);
  } else if (!std::all_of(weights.begin(), weights.end(),
                          [](const WeightInfo& w) { return w.not_stored; })) {
    log(LogLevel::warning, fmt::format("{}: weights are random, from seed {}; give trained ones by "
                                       "--weights FILE",
                                       layer->name(), options.seed));
  }
  progress.say("computing");
  Context ctx;
  ctx.keep_profile(options.profile);
  ctx.observe(observe);
  ctx.matmul_precision(options.matmul);
  use_tuned(ctx, options.tuned);
  step("forward", type.id, entry.library);
  const auto start = std::chrono::steady_clock::now();
  layer->forward(ctx, inputs, call);
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  std::vector<NamedOutput> outputs;
  for (uint32_t i = 0; i < type.n_outputs; ++i)
    if (const auto view = ctx.output(type.outputs[i]->name))
      outputs.push_back({type.outputs[i]->name, Array::copy_of(*view)});
  const std::vector<NamedOutput> observed = observed_tensors(ctx);
  progress.say("writing outputs");
  for (const OutputFile& file : files) write_outputs(file, outputs);
  if (!options.observe.file.empty()) write_outputs({"", options.observe.file}, observed);
  print_summary(globals, *layer, ctx, outputs, observed, options, seconds);
  return kDone;
}

int run(const Globals& globals, const RunOptions& options) {
  if (!options.isolate) return run_layer(globals, options, [](const auto&...) {});
  Isolation isolation(options.deadline);
  if (const auto code = isolation.exit_code()) return *code;
  return run_layer(globals, options, [&](const auto&... place) { isolation.enter(place...); });
}

}  // namespace

Command run_command(CLI::App& program, const Globals& globals) {
  CLI::App* app = program.add_subcommand("run", "Runs a layer once, tensors from and to files");
  auto o = std::make_shared<RunOptions>();
  app->add_option("CONFIG", o->config, "JSON file with the layer's configuration")->required();
  app->add_option("--input", o->inputs,
                  "A tensor for an input: npy, or safetensors with the tensor's name; repeatable")
      ->type_name("NAME=FILE[:TENSOR]")
      ->allow_extra_args(false)
      ->required();
  app->add_option("--arg", o->arguments, "An argument of the call; repeatable")
      ->type_name("NAME=JSON")
      ->allow_extra_args(false);
  app->add_option("--weights", o->weights, "safetensors file; without it weights come from --seed")
      ->type_name("FILE");
  app->add_option("--output", o->outputs,
                  "Where outputs go: .npy for one, .safetensors for all; repeatable. NAME is an "
                  "output; what stands before '=' and is no identifier belongs to the path")
      ->type_name("[NAME=]FILE")
      ->allow_extra_args(false);
  app->add_option("--section", o->section, "Where the layer stands in the file: a.b.c");
  add_storage(*app, "--weights-dtype", o->weights_kind,
              "How products read the weights: float32 (default), bfloat16, float16 or int8");
  add_matmul_precision(*app, o->matmul);
  add_tuned(*app, o->tuned);
  app->add_flag("--training", o->training, "As in training: dropout, statistics of the batch");
  app->add_flag("--profile", o->profile, "Also a table of operators: time, flops, bytes, share");
  auto* isolate =
      app->add_flag("--isolate", o->isolate,
                    "In a process of its own: a plugin that crashes or exits ends that one alone");
  take_number(
      app->add_option("--deadline", o->deadline, "With --isolate: stop it after so many seconds"),
      0.001, 1e9, false, "SECONDS")
      ->needs(isolate);
  add_observe_options(*app, o->observe);
  add_seed(*app, o->seed, "Of random weights and of dropout (default 0)");
  add_examples(*app, {"attn run layer.json --input inputs=x.npy --output y.npy",
                      "attn run layer.json --input inputs=x.safetensors:hidden --arg "
                      "use_causal_mask=true",
                      "attn run packed.json --input inputs=x.npy --input doc=documents.npy",
                      "attn run model.json --section encoder.attention --weights w.safetensors "
                      "--input inputs=x.npy --profile",
                      "attn run layer.json --input inputs=x.npy --observe entropy,column_mass "
                      "--observe-to seen.safetensors"});
  return {app, [&globals, o] { return run(globals, *o); }};
}

}  // namespace attn::cli
