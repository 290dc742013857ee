// SPDX-License-Identifier: Apache-2.0
//
// attn check-gradients: the gradients of a layer against central differences in float64.
#include <fmt/format.h>
#include <attn/factory.hpp>

#include <algorithm>
#include <cmath>
#include <memory>

#include "host/cli/call_arguments.hpp"
#include "host/cli/config_file.hpp"
#include "host/cli/gradient_check.hpp"
#include "host/cli/log_sink.hpp"
#include "host/cli/print.hpp"
#include "host/cli/program.hpp"
#include "host/cli/tensors.hpp"
#include "host/cli/types.hpp"

namespace attn::cli {

namespace {

struct CheckGradientsOptions {
  std::string config, section, weights;
  std::vector<std::string> inputs, shapes, arguments;
  GradientCheckOptions check;
};

// Given tensors in float64, random ones for required inputs that are not given.
std::vector<NamedOutput> read_inputs(const attn_type& type, const Json& config,
                                     const CheckGradientsOptions& o) {
  std::vector<NamedOutput> inputs;
  NamedShapes shapes = parse_shapes(type, o.shapes, config);
  for (const NameAndText& part : parse_inputs(type, o.inputs, config)) {
    Array value = read_tensor(part.text);
    const bool floating = value.dtype() == ATTN_F32 || value.dtype() == ATTN_F16 ||
                          value.dtype() == ATTN_BF16 || value.dtype() == ATTN_F64;
    shapes.emplace_back(part.name, value.shape());
    inputs.push_back({part.name, floating ? value.astype(ATTN_F64) : std::move(value)});
  }
  const auto by_order = input_shapes(type, config, shapes);
  for (uint32_t i = 0; i < type.n_inputs; ++i) {
    const std::string name = type.inputs[i]->name;
    bool given = !by_order[i];
    for (const NamedOutput& input : inputs) given = given || input.name == name;
    if (!given)
      inputs.push_back({name, normal_array(*by_order[i], o.check.seed + 1 + i, ATTN_F64)});
  }
  for (NamedOutput& table : random_tables(type, config, shapes, ATTN_F64))
    if (std::none_of(inputs.begin(), inputs.end(),
                     [&](const NamedOutput& input) { return input.name == table.name; }))
      inputs.push_back(std::move(table));
  return inputs;
}

int print_results(const Globals& globals, const Attention& layer,
                  const std::vector<TensorGradients>& results, double tolerance) {
  int64_t failed = 0;
  for (const TensorGradients& r : results) failed += r.good ? 0 : 1;
  const auto count = static_cast<int64_t>(results.size());
  if (globals.json) {
    Json list = Json::list({});
    for (const TensorGradients& r : results)
      list.push_back({{"name", r.name},
                      {"kind", r.weight ? "weight" : "input"},
                      {"shape", r.shape.to_vector()},
                      {"checked", r.checked},
                      {"kinks", r.kinks},
                      {"largest", json_number(r.largest)},
                      {"error", json_number(r.error)},
                      {"worst", r.worst},
                      {"gradient", json_number(r.found)},
                      {"difference", json_number(r.expected)},
                      {"passed", r.good}});
    const Json result = {{"type", layer.type().id},
                         {"tolerance", tolerance},
                         {"passed", count - failed},
                         {"failed", failed},
                         {"tensors", list}};
    print_line(result.dump(1));
    return failed ? kCheckFailed : kDone;
  }
  Table table({"TENSOR", "SHAPE", "CHECKED", "LARGEST", "ERROR", ""}, "  rrr");
  for (const TensorGradients& r : results)
    table.add({r.name, r.shape.to_string(), fmt::format("{}", r.checked),
               fmt::format("{:.2e}", r.largest), fmt::format("{:.1e}", r.error),
               !r.good       ? "off"
               : r.kinks > 0 ? fmt::format("ok, {} at a kink", r.kinks)
                             : "ok"});
  print(table.text());
  for (const TensorGradients& r : results)
    if (!r.good)
      print_line(
          fmt::format("{}[{}]: gradient {:.10g}, difference {:.10g}; the error {:.1e} is "
                      "above {:.0e}",
                      r.name, r.worst, r.found, r.expected, r.error, tolerance));
  print_line(fmt::format("{} passed, {} failed", count - failed, failed));
  return failed ? kCheckFailed : kDone;
}

int run_check_gradients(const Globals& globals, const CheckGradientsOptions& given) {
  const ConfigFile config(given.config, given.section);
  config.validate();
  const attn_type& type = *find_attention_type(config.type()).type;
  CallArguments arguments;
  for (const std::string& text : given.arguments) arguments.add_assignment(text);
  Progress progress(!globals.json && globals.quiet == 0);
  std::vector<NamedOutput> inputs = read_inputs(type, config.parameters(), given);
  const auto layer = config.create(given.check.seed);
  std::vector<std::optional<Shape>> shapes(type.n_inputs);
  for (uint32_t i = 0; i < type.n_inputs; ++i)
    for (const NamedOutput& input : inputs)
      if (input.name == type.inputs[i]->name) shapes[i] = input.value.shape();
  layer->build(shapes, {.dtype = ATTN_F64, .seed = given.check.seed});
  if (!given.weights.empty()) layer->load(given.weights);
  GradientCheckOptions check = given.check;
  check.arguments = arguments.view();
  check.progress = [&](const std::string& tensor) { progress.say("differences of " + tensor); };
  std::vector<TensorGradients> results;
  {
    const QuietLog quiet;  // the same warning in each of hundreds of calls
    results = check_gradients(*layer, inputs, check);
  }
  progress.say("");
  return print_results(globals, *layer, results, check.tolerance);
}

}  // namespace

Command check_gradients_command(CLI::App& program, const Globals& globals) {
  CLI::App* app = program.add_subcommand(
      "check-gradients", "Compares a layer's gradients with central differences in float64");
  auto o = std::make_shared<CheckGradientsOptions>();
  app->add_option("CONFIG", o->config, "JSON file with the layer's configuration")->required();
  app->add_option(
         "--input", o->inputs,
         "A tensor for an input; required inputs that are not given are random; repeatable")
      ->type_name("NAME=FILE[:TENSOR]")
      ->allow_extra_args(false);
  app->add_option("--shape", o->shapes, "Shape of a random input; repeatable")
      ->type_name("NAME=2,16,64")
      ->allow_extra_args(false);
  app->add_option("--arg", o->arguments, "An argument of the call; repeatable")
      ->type_name("NAME=JSON")
      ->allow_extra_args(false);
  app->add_option("--weights", o->weights, "safetensors file; without it weights come from --seed")
      ->type_name("FILE");
  app->add_option("--section", o->section, "Where the layer stands in the file: a.b.c");
  app->add_flag("--training", o->check.training,
                "As in training: dropout, statistics of the batch");
  app->add_option("--elements", o->check.elements,
                  "How many elements of each tensor to move (default 16; 0: all)")
      ->check([](const std::string& text) {
        return text.starts_with('-')
                   ? "'" + text + "' is negative; expected a number from 0, which is all"
                   : std::string();
      });
  app->add_option("--tolerance", o->check.tolerance, "Largest relative error (default 1e-6)")
      ->check([](const std::string& text) {
        const double x = std::strtod(text.c_str(), nullptr);
        return x > 0 && std::isfinite(x)
                   ? std::string()
                   : "'" + text + "' is no positive number; expected one, such as 1e-6";
      });
  add_seed(*app, o->check.seed, "Of weights, inputs and dropout (default 0)");
  add_examples(*app, {"attn check-gradients layer.json",
                      "attn check-gradients layer.json --shape inputs=2,9,64 --training",
                      "attn check-gradients layer.json --input inputs=x.npy --elements 0"});
  return {app, [&globals, o] { return run_check_gradients(globals, *o); }};
}

}  // namespace attn::cli
