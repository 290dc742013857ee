// SPDX-License-Identifier: Apache-2.0
//
// attn convert: weights published under other names to a file that the layer loads.
#include <fmt/format.h>
#include <attn/error.hpp>
#include <attn/factory.hpp>
#include <attn/log.hpp>
#include <attn/safetensors.hpp>

#include <algorithm>
#include <map>
#include <memory>

#include "core/schema/text.hpp"
#include "host/cli/config_file.hpp"
#include "host/cli/mapping.hpp"
#include "host/cli/print.hpp"
#include "host/cli/program.hpp"
#include "host/cli/tensors.hpp"
#include "host/cli/types.hpp"

namespace attn::cli {

namespace {

struct ConvertOptions {
  std::string source, map, config, section, output;
  std::vector<std::string> variables, shapes;
};

// Parameters of the layer are variables, too; --set comes first.
std::map<std::string, std::string> variables(const ConvertOptions& options, const Json& config) {
  std::map<std::string, std::string> out;
  for (const auto& [name, value] : config.as_object()) {
    if (value.is_integer()) out[name] = value.number_text();
    if (value.is_string()) out[name] = value.as_string();
  }
  for (const std::string& text : options.variables) {
    const NameAndText part = split_assignment("--set", text, "NAME=VALUE");
    out[part.name] = part.text;
  }
  return out;
}

[[noreturn]] void refuse(const ConvertOptions& options, const std::string& weight,
                         const std::string& text, const std::string& hint) {
  throw InvalidArgument(options.map + ": " + text,
                        {.where = options.map, .parameter = weight, .hint = hint});
}

using Weights = std::map<std::string, Shape>;

// A recipe for every weight of the layer, and for nothing else.
void check_targets(const ConvertOptions& options, const Mapping& mapping, const Weights& wanted) {
  schema::Names names;
  for (const auto& [name, shape] : wanted) names.push_back(name);
  for (const std::string& target : mapping.targets()) {
    if (wanted.contains(target)) continue;
    const std::string similar = schema::did_you_mean(target, names);
    refuse(options, target, "the layer has no weight '" + target + "'",
           similar.empty() ? "its weights are " + schema::name_list(names) : similar);
  }
  for (const auto& [name, shape] : wanted)
    if (std::find(mapping.targets().begin(), mapping.targets().end(), name) ==
        mapping.targets().end())
      refuse(options, name, "weight '" + name + "' " + shape.to_string() + " has no recipe",
             "every weight of the layer needs one");
}

void set_weight(const ConvertOptions& options, Attention& layer, const std::string& name,
                const Shape& shape, const Array& value) {
  if (value.shape() != shape && !(shape.rank() == 0 && value.shape() == Shape{1}))
    refuse(options, name,
           "the recipe of '" + name + "' gives " + value.shape().to_string() + ", the layer has " +
               shape.to_string(),
           value.shape().rank() == 2 && value.shape() == Shape{shape[1], shape[0]}
               ? "add \"transpose\": true"
               : "check the recipe and the configuration");
  layer.set_weight(name, value.view());
}

int run_convert(const Globals& globals, const ConvertOptions& options) {
  const ConfigFile config(options.config, options.section);
  config.validate();
  const NamedShapes shapes = parse_shapes(*find_attention_type(config.type()).type, options.shapes);
  const SafetensorsFile source(options.source);
  const auto layer = config.create();
  Mapping mapping(read_text_file(options.map, "a JSON mapping file"), options.map,
                  variables(options, layer->config()));
  layer->build(input_shapes(layer->type(), layer->config(), shapes), {.seed = 0});

  Weights wanted;
  for (const WeightInfo& w : layer->weights())
    if (!w.not_stored) wanted.emplace(w.name, w.shape);
  check_targets(options, mapping, wanted);
  Progress progress(!globals.json && globals.quiet == 0);
  Json done = Json::list({});
  Table table({"WEIGHT", "SHAPE"});
  for (const auto& [name, shape] : wanted) {
    progress.say("converting " + name);
    set_weight(options, *layer, name, shape, mapping.make(name, source));
    done.push_back({{"weight", name}, {"shape", shape.to_vector()}});
    table.add({name, shape.to_string()});
  }
  size_t unused = 0;
  for (const SafetensorsEntry& e : source.entries())
    if (!mapping.used().contains(e.name)) {
      ++unused;
      log(LogLevel::debug, options.source + ": tensor '" + e.name + "' is not used");
    }
  layer->save(options.output);
  if (globals.json) {
    print_line(Json{
        {"output", options.output},
        {"type", config.type()},
        {"weights", done},
        {"unused_tensors",
         unused}}.dump(1));
  } else {
    print(table.text());
    print_line(fmt::format("{}: {} weights written; {} tensors of the source are not used",
                           options.output, wanted.size(), unused));
  }
  return kDone;
}

}  // namespace

Command convert_command(CLI::App& program, const Globals& globals) {
  CLI::App* app =
      program.add_subcommand("convert", "Weights under other names to a file for a layer");
  auto o = std::make_shared<ConvertOptions>();
  app->add_option("SOURCE", o->source, "safetensors file with the published weights")->required();
  app->add_option("--map", o->map, "JSON: a recipe for each weight (docs: convert.md)")
      ->type_name("MAPPING")
      ->required();
  app->add_option("--config", o->config, "Configuration of the layer")
      ->type_name("CONFIG")
      ->required();
  app->add_option("--output", o->output, "safetensors file to write")
      ->type_name("FILE")
      ->required();
  app->add_option("--set", o->variables, "A value for {NAME} in the mapping; repeatable")
      ->type_name("NAME=VALUE")
      ->allow_extra_args(false);
  app->add_option("--section", o->section, "Where the layer stands in the configuration: a.b.c");
  app->add_option("--shape", o->shapes, "For types that take widths from their inputs; repeatable")
      ->type_name("INPUT=2,16,64")
      ->allow_extra_args(false);
  add_examples(*app, {"attn convert model.safetensors --map bert.json --config layer.json --set "
                      "layer=0 --output layer0.safetensors"});
  return {app, [&globals, o] { return run_convert(globals, *o); }};
}

}  // namespace attn::cli
