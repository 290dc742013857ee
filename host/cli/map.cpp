// SPDX-License-Identifier: Apache-2.0
//
// attn map: what a call of a layer, or of two beside each other, tells of itself, as a picture.
#include <fmt/format.h>
#include <attn/factory.hpp>
#include <attn/log.hpp>

#include <algorithm>
#include <filesystem>
#include <memory>

#include "core/schema/input_names.hpp"
#include "core/weights/atomic_file.hpp"
#include "host/cli/call_arguments.hpp"
#include "host/cli/config_file.hpp"
#include "host/cli/observe.hpp"
#include "host/cli/print.hpp"
#include "host/cli/program.hpp"
#include "host/cli/tensors.hpp"
#include "host/cli/types.hpp"
#include "host/picture/figure.hpp"

namespace attn::cli {

namespace {

struct LayerFiles {
  std::string config, section, weights;
};

struct MapOptions {
  LayerFiles layer, other;
  std::vector<std::string> inputs, arguments, show;
  std::string out, labels, key_labels, heads, queries, keys, grid;
  std::optional<int64_t> query;
  int64_t row = 0;
  uint64_t seed = 0;
};

std::vector<std::string> read_labels(const std::string& option, const std::string& path) {
  std::vector<std::string> lines;
  if (path.empty()) return lines;
  const std::string text = read_text_file(path, "labels");
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    lines.push_back(text.substr(at, end - at));
    if (lines.back().ends_with('\r')) lines.back().pop_back();
    at = end + 1;
  }
  if (lines.empty())
    throw InvalidArgument(option + ": " + path + " has no labels",
                          {.where = option, .value = path, .expected = "a label on each line"});
  return lines;
}

std::pair<int64_t, int64_t> parse_grid(const std::string& given) {
  const size_t comma = given.find(',');
  const auto number = [&](const std::string& text) {
    if (text.empty() || text.size() > 6 ||
        text.find_first_not_of("0123456789") != std::string::npos || std::stoll(text) == 0)
      throw InvalidArgument("--grid: '" + given + "' must have the form ROWS,COLUMNS",
                            {.where = "--grid", .value = given, .expected = "as 14,14"});
    return std::stoll(text);
  };
  return {number(given.substr(0, comma)),
          number(comma == std::string::npos ? "" : given.substr(comma + 1))};
}

// The call of one layer, observed.
picture::Subject observed(const LayerFiles& files, const MapOptions& o, const Observe& part) {
  const ConfigFile config(files.config, files.section);
  config.validate();
  const attn_type& type = *find_attention_type(config.type()).type;
  CallArguments arguments;
  for (const std::string& text : o.arguments) arguments.add_assignment(text);
  std::vector<Array> arrays;
  arrays.reserve(o.inputs.size());
  const std::vector<NameAndText> names = parse_inputs(type, o.inputs, config.parameters(), true);
  std::vector<Input> inputs;
  std::vector<std::optional<Shape>> by_order(type.n_inputs);
  for (const NameAndText& in : names) {
    arrays.push_back(read_tensor(in.text));
    inputs.emplace_back(in.name, arrays.back().view());
    if (const uint32_t place = schema::find_input(type, in.name); place < type.n_inputs)
      by_order[place] = arrays.back().shape();
  }
  const auto layer = config.create(o.seed);
  layer->build(by_order, {.seed = o.seed});
  const std::vector<WeightInfo> weights = layer->weights();
  if (!files.weights.empty())
    layer->load(files.weights);
  else if (std::any_of(weights.begin(), weights.end(),
                       [](const WeightInfo& w) { return !w.not_stored; }))
    log(LogLevel::warning,
        fmt::format("{}: weights are random, from seed {}; give trained ones by "
                    "--{}weights FILE",
                    layer->name(), o.seed, &files == &o.layer ? "" : "compare-"));
  const CallOptions call{.seed = o.seed, .arguments = arguments.view()};
  Context ctx;
  const auto run = [&](const Observe& what, std::vector<std::string>& there) {
    ctx.observe(what);
    layer->forward(ctx, inputs, call);
    there = ctx.observables();
    return ctx.take_observed();
  };
  return {type.id, std::filesystem::path(files.config).filename(),
          picture::observe_call(run, part, o.show), by_order.front().value_or(Shape{})};
}

int run_map(const Globals& globals, const MapOptions& o) {
  const std::string ending = std::filesystem::path(o.out).extension();
  if (ending != ".png" && ending != ".svg" && ending != ".html")
    throw InvalidArgument("--out: '" + o.out + "' must end in .png, .svg or .html",
                          {.where = "--out", .value = o.out});
  weights::AtomicFile file(o.out);  // now, because a place where nothing can be written is an error
  Observe observe;
  const auto range = [](const char* option, const char* of, const std::string& given,
                        int64_t& first, int64_t& count) {
    if (given.empty()) return;
    const Range r = parse_range(option, of, given);
    first = r.first, count = r.count;
  };
  range("--heads", "heads", o.heads, observe.head, observe.heads);
  range("--queries", "queries", o.queries, observe.query, observe.queries);
  range("--keys", "keys", o.keys, observe.key, observe.keys);
  const picture::Wishes wishes{
      .query_labels = read_labels("--labels", o.labels),
      .key_labels = read_labels("--key-labels", o.key_labels),
      .row = o.row,
      .part = observe,
      .query = o.query,
      .grid = o.grid.empty() ? std::nullopt : std::optional(parse_grid(o.grid)),
      .prefix = "--"};
  Progress progress(!globals.json && globals.quiet == 0);
  progress.say("computing");
  std::vector<picture::Subject> subjects;
  subjects.push_back(observed(o.layer, o, observe));
  if (!o.other.config.empty()) subjects.push_back(observed(o.other, o, observe));
  progress.say("drawing");
  const picture::Scene scene = picture::figure(subjects, wishes);
  const std::string bytes = ending == ".png"   ? picture::png(scene)
                            : ending == ".svg" ? picture::svg(scene)
                                               : picture::html(scene, subjects.front().title);
  file.write(bytes.data(), bytes.size());
  file.commit();
  if (globals.json)
    print_line(Json({{"file", o.out}, {"width", scene.width}, {"height", scene.height}}).dump(1));
  else
    print_line(fmt::format("{}: {:.0f} x {:.0f}", o.out, scene.width, scene.height));
  return kDone;
}

}  // namespace

Command map_command(CLI::App& program, const Globals& globals) {
  CLI::App* app = program.add_subcommand(
      "map", "A picture of what a call attends to, and of what else its type tells");
  auto o = std::make_shared<MapOptions>();
  app->add_option("CONFIG", o->layer.config, "JSON file with the layer's configuration")
      ->required();
  app->add_option(
         "--input", o->inputs,
         "A tensor for an input, without a name for the next one: npy, or safetensors with "
         "the tensor's name; repeatable")
      ->type_name("[NAME=]FILE[:TENSOR]")
      ->allow_extra_args(false)
      ->required();
  app->add_option("--out", o->out,
                  "Where the picture goes: .png, .svg, or .html with values on hover")
      ->type_name("FILE")
      ->required();
  app->add_option("--arg", o->arguments, "An argument of the call; repeatable")
      ->type_name("NAME=JSON")
      ->allow_extra_args(false);
  app->add_option("--weights", o->layer.weights,
                  "safetensors file; without it weights come from --seed")
      ->type_name("FILE");
  app->add_option("--section", o->layer.section, "Where the layer stands in the file: a.b.c");
  app->add_option("--labels", o->labels, "Text file with a label for each position, one a line")
      ->type_name("FILE");
  app->add_option("--key-labels", o->key_labels, "The same for keys, where they are others")
      ->type_name("FILE");
  app->add_option("--heads", o->heads, "These heads alone: N, or BEGIN:END")->type_name("RANGE");
  app->add_option("--queries", o->queries, "These queries alone")->type_name("RANGE");
  app->add_option("--keys", o->keys, "These keys alone")->type_name("RANGE");
  app->add_option("--show", o->show,
                  "What is drawn, by the names of --observe (default: maps, and what the type has "
                  "of its own); repeatable")
      ->type_name("NAME")
      ->delimiter(',')
      ->allow_extra_args(false);
  app->add_option("--grid", o->grid,
                  "The grid that positions are in; default: that of a feature map")
      ->type_name("ROWS,COLUMNS");
  take_number(
      app->add_option("--query", o->query,
                      "The query whose weights are shown over the grid (default: the middle)"),
      0, 1 << 30, true);
  take_number(app->add_option("--row", o->row, "Row of the batch (default 0)"), 0, 1 << 30, true);
  auto* compare = app->add_option("--compare", o->other.config,
                                  "A second layer on the same inputs, beside the first")
                      ->type_name("CONFIG");
  app->add_option("--compare-weights", o->other.weights, "Its weights")
      ->type_name("FILE")
      ->needs(compare);
  app->add_option("--compare-section", o->other.section, "Its place in its file")->needs(compare);
  add_seed(*app, o->seed, "Of random weights (default 0)");
  add_examples(*app,
               {"attn map layer.json --input x.npy --out map.png",
                "attn map layer.json --input x.npy --labels tokens.txt --heads 0:4 --out map.html",
                "attn map layer.json --input x.npy --compare other.json --out both.svg"});
  return {app, [&globals, o] { return run_map(globals, *o); }};
}

}  // namespace attn::cli
