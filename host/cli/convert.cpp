// SPDX-License-Identifier: Apache-2.0
//
// attn convert: weights of other libraries to a file that the layer loads, by a known form or a mapping, and back.
#include <fmt/format.h>
#include <attn/convert.hpp>
#include <attn/error.hpp>
#include <attn/factory.hpp>
#include <attn/log.hpp>
#include <attn/safetensors.hpp>

#include <algorithm>
#include <filesystem>
#include <map>
#include <memory>

#include "core/schema/text.hpp"
#include "host/cli/config_file.hpp"
#include "host/cli/convert_model.hpp"
#include "host/cli/print.hpp"
#include "host/cli/program.hpp"
#include "host/cli/tensors.hpp"
#include "host/cli/types.hpp"
#include "host/library/convert/mapping.hpp"

namespace attn::cli {

namespace {

struct ConvertOptions {
  std::string source, map, config, section, output;
  std::string from, to, type, prefix;
  std::optional<int64_t> num_heads;
  std::vector<std::string> variables, shapes;
};

// NAME=VALUE of --set: numbers where they are, else texts.
Json set_variables(const ConvertOptions& options) {
  Json out = Json::object();
  for (const std::string& text : options.variables) {
    const NameAndText part = split_assignment("--set", text, "NAME=VALUE");
    try {
      out.set(part.name, Json::number(part.text));
    } catch (const InvalidArgument&) {
      out.set(part.name, part.text);
    }
  }
  if (options.num_heads) out.set("num_heads", *options.num_heads);
  return out;
}

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

using conversion::Mapping;
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

// A line for each tensor written, and a last one for the file.
void report(const Globals& globals, const ConvertOptions& options, Json more, const char* heading,
            const std::vector<std::pair<std::string, Shape>>& written, const std::string& summary) {
  Json list = Json::list({});
  Table table({heading, "SHAPE"});
  for (const auto& [name, shape] : written) {
    list.push_back({{"weight", name}, {"shape", shape.to_vector()}});
    table.add({name, shape.to_string()});
  }
  if (globals.json) {
    Json out{{"output", options.output}};
    for (const auto& [key, value] : more.as_object()) out.set(key, value);
    out.set("weights", std::move(list));
    print_line(out.dump(1));
  } else {
    print(table.text());
    print_line(options.output + ": " + summary);
  }
}

int convert_by_map(const Globals& globals, const ConvertOptions& options) {
  const ConfigFile config(options.config, options.section);
  config.validate();
  const NamedShapes shapes = parse_shapes(*find_attention_type(config.type()).type, options.shapes);
  const SafetensorsFile file(options.source);
  const TensorSet source = tensor_set(file, options.source);
  const auto layer = config.create();
  Mapping mapping(parse_config(read_text_file(options.map, "a JSON mapping file"), options.map),
                  options.map, variables(options, layer->config()));
  layer->build(input_shapes(layer->type(), layer->config(), shapes), {.seed = 0});

  Weights wanted;
  for (const WeightInfo& w : layer->weights())
    if (!w.not_stored) wanted.emplace(w.name, w.shape);
  check_targets(options, mapping, wanted);
  Progress progress(!globals.json && globals.quiet == 0);
  for (const auto& [name, shape] : wanted) {
    progress.say("converting " + name);
    set_weight(options, *layer, name, shape, mapping.make(name, source));
  }
  int64_t unused = 0;
  for (const auto& [name, shape] : source.shapes)
    if (!mapping.used().contains(name)) {
      ++unused;
      log(LogLevel::debug, options.source + ": tensor '" + name + "' is not used");
    }
  layer->save(options.output);
  report(globals, options, {{"type", config.type()}, {"unused_tensors", unused}}, "WEIGHT",
         {wanted.begin(), wanted.end()},
         fmt::format("{} weights written; {} tensors of the source are not used", wanted.size(),
                     unused));
  return kDone;
}

int convert_by_form(const Globals& globals, const ConvertOptions& options) {
  const SafetensorsFile file(options.source);
  const ConvertedAttention done =
      convert_attention(tensor_set(file, options.source), {.form = options.from,
                                                           .type = options.type,
                                                           .prefix = options.prefix,
                                                           .variables = set_variables(options)});
  done.layer->save(options.output);
  std::vector<std::pair<std::string, Shape>> written;
  for (const WeightInfo& w : done.layer->weights()) written.emplace_back(w.name, w.shape);
  const std::string type = done.layer->type().id;
  Json left_out = Json::list({});
  std::string rest;
  for (const std::string& name : done.left_out) {
    left_out.push_back(name);
    rest += (rest.empty() ? "; left out, as no attention: " : ", ") + name;
  }
  report(globals, options,
         {{"type", type},
          {"config", done.layer->config()},
          {"form", done.found.form},
          {"prefix", done.found.prefix},
          {"left_out", left_out}},
         "WEIGHT", written,
         fmt::format("{} weights of {} from {}{} written{}", written.size(), type, done.found.form,
                     done.found.prefix.empty() ? "" : " '" + done.found.prefix + "'", rest));
  return kDone;
}

int convert_to_form(const Globals& globals, const ConvertOptions& options) {
  const auto layer = load_attention(options.source);
  const std::string prefix =
      options.prefix.empty() || options.prefix.ends_with('.') || options.prefix.ends_with('/')
          ? options.prefix
          : options.prefix + ".";
  const std::map<std::string, Array> tensors = convert_back(*layer, options.to);
  std::vector<NamedView> views;
  std::vector<std::pair<std::string, Shape>> written;
  for (const auto& [name, value] : tensors) {
    views.push_back({prefix + name, value.view()});
    written.emplace_back(prefix + name, value.shape());
  }
  save_safetensors(options.output, views);
  report(globals, options, {{"form", options.to}}, "TENSOR", written,
         fmt::format("{} tensors of {} written", written.size(),
                     attention_forms().at(options.to).at("title").as_string()));
  return kDone;
}

// --from and --to against what the source is: a file, or a whole model as a folder or an index of shards.
void check_source(const ConvertOptions& options) {
  std::error_code ec;
  const std::string& source = options.source;
  const bool whole = std::filesystem::is_directory(source, ec) || source.ends_with(".json");
  if (whole && !options.to.empty())
    throw InvalidArgument(
        source + ": is a whole model",
        {.where = source, .parameter = "--to", .expected = "the file of a layer"});
  schema::Names names;
  for (const auto& [name, table] : model_families().as_object()) names.push_back(name);
  const std::string families = schema::name_list(names);
  if (whole && options.from.empty())
    throw InvalidArgument(
        source + ": is a whole model",
        {.where = source,
         .parameter = "--from",
         .expected = "--from FAMILY beside it, one of " + families,
         .hint = "--prefix says which layers, where there are several models; or give one "
                 "safetensors file"});
  schema::Names forms;
  for (const auto& [name, table] : attention_forms().as_object()) forms.push_back(name);
  if (!whole) names.insert(names.end(), forms.begin(), forms.end());
  if (options.from.empty() || std::find(names.begin(), names.end(), options.from) != names.end())
    return;
  throw InvalidArgument(
      source + ": there is no " + (whole ? "" : "form or ") + "family '" + options.from + "'",
      {.where = source,
       .parameter = "--from",
       .value = options.from,
       .expected = whole ? "one of " + families
                         : "one of the forms " + schema::name_list(forms) +
                               " or, of models, the families " + families,
       .hint = schema::did_you_mean(options.from, names)});
}

int run_convert(const Globals& globals, const ConvertOptions& options) {
  if (!options.map.empty()) return convert_by_map(globals, options);
  check_source(options);
  const bool family = model_families().contains(options.from);
  if (family && (!options.type.empty() || options.num_heads || !options.variables.empty()))
    throw InvalidArgument(
        "--from " + options.from +
            ": the model's config.json tells all of --type, --num-heads and --set",
        {.where = "--from", .value = options.from, .hint = "leave them out"});
  if (family)
    return convert_model(globals, {.source = options.source,
                                   .family = options.from,
                                   .prefix = options.prefix,
                                   .output = options.output});
  return options.to.empty() ? convert_by_form(globals, options) : convert_to_form(globals, options);
}

}  // namespace

Command convert_command(CLI::App& program, const Globals& globals) {
  CLI::App* app =
      program.add_subcommand("convert", "Weights under other names to a file for a layer");
  auto o = std::make_shared<ConvertOptions>();
  app->add_option(
         "SOURCE", o->source,
         "safetensors file: published weights; with --to, a layer's; of a model, its folder")
      ->required();
  app->add_option("--output", o->output, "safetensors file to write; of a model, a folder")
      ->type_name("FILE")
      ->required();
  CLI::Option* from =
      app->add_option(
             "--from", o->from,
             "What the weights are, by name; else their names tell. Of whole models, the family")
          ->type_name("FORM");
  CLI::Option* to = app->add_option("--to", o->to, "Writes weights of this form out of a layer's")
                        ->type_name("FORM");
  CLI::Option* prefix =
      app->add_option("--prefix", o->prefix, "Where the attention stands among the tensors")
          ->type_name("NAME");
  CLI::Option* type = app->add_option("--type", o->type, "Attention type; else the first that fits")
                          ->type_name("TYPE");
  CLI::Option* heads =
      take_number(app->add_option("--num-heads", o->num_heads, "Where the tensors do not tell it"),
                  1, std::numeric_limits<int>::max(), true);
  CLI::Option* set =
      app->add_option(
             "--set", o->variables,
             "A variable: {NAME} of the mapping, epsilon of norms, dropout_rate; repeatable")
          ->type_name("NAME=VALUE")
          ->allow_extra_args(false);
  CLI::Option* map =
      app->add_option("--map", o->map, "JSON: a recipe for each weight (docs: convert.md)")
          ->type_name("MAPPING");
  CLI::Option* config =
      app->add_option("--config", o->config, "With --map: the layer's configuration")
          ->type_name("CONFIG")
          ->needs(map);
  map->needs(config)->excludes(from)->excludes(to)->excludes(prefix)->excludes(type)->excludes(
      heads);
  to->excludes(from)->excludes(type)->excludes(heads)->excludes(set);
  app->add_option("--section", o->section, "Where the layer stands in the configuration: a.b.c")
      ->needs(map);
  app->add_option("--shape", o->shapes, "For types that take widths from their inputs; repeatable")
      ->type_name("INPUT=2,16,64")
      ->allow_extra_args(false)
      ->needs(map);
  add_examples(*app, {"attn convert model.safetensors --prefix encoder.layer.3 --num-heads 12 "
                      "--output layer3.safetensors",
                      "attn convert Llama-3.2-1B --from llama --output layers",
                      "attn convert layer3.safetensors --to torch --output mha.safetensors",
                      "attn convert model.safetensors --map bert.json --config layer.json --set "
                      "layer=0 --output layer0.safetensors"});
  return {app, [&globals, o] { return run_convert(globals, *o); }};
}

}  // namespace attn::cli
