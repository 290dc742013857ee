// SPDX-License-Identifier: Apache-2.0
//
// attn info: everything about one type; with a configuration also weights, states and costs.
#include <fmt/format.h>
#include <attn/claims.hpp>
#include <attn/factory.hpp>

#include <algorithm>
#include <memory>
#include <optional>

#include "host/cli/call_arguments.hpp"
#include "host/cli/config_file.hpp"
#include "host/cli/log_sink.hpp"
#include "host/cli/print.hpp"
#include "host/cli/profile.hpp"
#include "host/cli/program.hpp"
#include "host/cli/schema_facts.hpp"
#include "host/cli/tensors.hpp"
#include "host/cli/types.hpp"

namespace attn::cli {

namespace {

struct InfoOptions {
  std::string type, config, section;
  std::vector<std::string> shapes, arguments;
};

// capacity: the shortest bound of what grows with every call; 0: nothing bounds it; null: nothing grows.
Json state_facts(const std::vector<StateInfo>& states) {
  Json capacity, kept = Json::list({});
  for (const StateInfo& s : states) {
    if (s.history) {
      const int64_t before = capacity.is_null() ? 0 : *capacity.to_int64();
      capacity = before == 0 ? s.longest : s.longest == 0 ? before : std::min(before, s.longest);
    }
    kept.push_back({{"name", s.name}, {"shape", s.shape.to_vector()}, {"grows", s.history}});
  }
  return {{"capacity", capacity}, {"kept", kept}};
}

// Of a built layer: weights, state, and the cost of one call on random inputs.
Json layer_facts(Attention& layer, const NamedShapes& given) {
  const auto shapes = input_shapes(layer.type(), layer.config(), given);
  layer.build(shapes, {.seed = 0});
  Json weights = Json::list({});
  int64_t all = 0, trained = 0;
  for (const WeightInfo& w : layer.weights()) {
    if (w.not_stored) continue;
    all += w.shape.elements();
    if (w.trainable) trained += w.shape.elements();
    weights.push_back({{"name", w.name},
                       {"shape", w.shape.to_vector()},
                       {"count", w.shape.elements()},
                       {"trainable", w.trainable},
                       {"statistic", w.statistic}});
  }
  Json tables = Json::list({});
  for (const TableInfo& t : layer.tables())
    tables.push_back({{"name", t.name}, {"dtype", t.whole ? "i32" : "float"}, {"shape", t.shape}});
  Json built_for = Json::object();
  for (size_t i = 0; i < shapes.size(); ++i)
    if (shapes[i]) built_for.set(layer.type().inputs[i]->name, shapes[i]->to_vector());
  Json facts = {{"built_for", built_for},     {"weights", weights}, {"parameter_count", all},
                {"trainable_count", trained}, {"tables", tables},   {"state", nullptr}};
  if (layer.has_state()) facts.set("state", state_facts(layer.states()));
  return facts;
}

Json cost_facts(Attention& layer, const NamedShapes& given, const CallArguments& arguments) {
  const auto shapes = input_shapes(layer.type(), layer.config(), given);
  const std::vector<NamedOutput> tables = random_tables(layer.type(), layer.config(), given);
  std::vector<Array> arrays;
  std::vector<Input> inputs;
  Json used = Json::object();
  arrays.reserve(shapes.size());
  for (size_t i = 0; i < shapes.size(); ++i) {
    if (!shapes[i]) continue;
    arrays.push_back(normal_array(*shapes[i], i));
    inputs.emplace_back(layer.type().inputs[i]->name, arrays.back().view());
    used.set(layer.type().inputs[i]->name, shapes[i]->to_vector());
  }
  for (const NamedOutput& table : tables) {
    inputs.emplace_back(table.name, table.value.view());
    used.set(table.name, table.value.shape().to_vector());
  }
  Context ctx;
  ctx.keep_profile(true);
  layer.forward(ctx, inputs, CallOptions{.seed = 0, .arguments = arguments.view()});
  const Cost cost = total(ctx.profile());
  Json outputs = Json::object();
  for (uint32_t i = 0; i < layer.type().n_outputs; ++i)
    if (const auto view = ctx.output(layer.type().outputs[i]->name))
      outputs.set(layer.type().outputs[i]->name, view->shape.to_vector());
  return {{"inputs", used},
          {"outputs", outputs},
          {"flops", cost.flops},
          {"bytes", cost.bytes},
          {"workspace_bytes", ctx.peak_bytes()}};
}

void title(const std::string& text) { print_line("\n" + paint(Colour::bold, text)); }
std::string text(const Json& j, const char* key) { return j.at(key).as_string(); }

void print_params(const Json& list, bool with_default) {
  Table table({"  NAME", "KIND", "RANGE", "DEFAULT", "MEANING"});
  for (const Json& p : list.as_list()) {
    std::string aliases;
    for (const Json& a : p.at("aliases").as_list()) aliases += "; alias " + a.as_string();
    table.add({"  " + text(p, "name"), text(p, "kind"),
               text(p, "range").empty() ? "-" : text(p, "range"),
               p.at("required").as_bool() ? "required"
               : with_default             ? p.at("default").dump()
                                          : "-",
               text(p, "doc") + aliases});
  }
  print(table.text());
}

void print_schema(const Json& f) {
  print_line(paint(Colour::bold, text(f, "type")) + "  " + text(f, "class"));
  print_line(wrapped(text(f, "description"), 0));
  print_line("use         " + wrapped(text(f, "use_case"), 12));
  print_line("input       " + text(f, "input_shape"));
  print_line("complexity  " + text(f, "complexity"));
  print_line("paper       " + wrapped(text(f, "paper"), 12));
  print_line("library     " + text(f, "library"));
  title("Parameters");
  print_params(f.at("parameters"), true);
  for (const Json& r : f.at("rules").as_list()) print_line("  rule: " + r.as_string());
  title("Inputs");
  for (const Json& in : f.at("inputs").as_list()) {
    std::string shapes;
    for (const Json& s : in.at("shapes").as_list())
      shapes += (shapes.empty() ? "" : " or ") + s.as_string();
    std::string names = text(in, "name");
    for (const Json& alias : in.at("aliases").as_list()) names += " = " + alias.as_string();
    print_line("  " + names + "  " + shapes + (in.at("optional").as_bool() ? "  optional" : "") +
               (in.at("mask").as_bool() ? "  mask" : "") + "  " + text(in, "doc"));
  }
  title("Arguments of a call");
  print_line("  training  bool  default false");
  if (!f.at("arguments").empty()) print_params(f.at("arguments"), true);
  title("Outputs");
  for (const Json& o : f.at("outputs").as_list())
    print_line("  " + text(o, "name") + "  " + text(o, "shape") +
               (o.at("argument").is_null() ? "" : "  when " + text(o, "argument") + " is true") +
               "  " + text(o, "doc"));
}

// The author's word; `attn check` tries it.
void print_claims(const Json& f) {
  title("Claims");
  for (const Json& c : f.at("claims").as_list())
    print_line(
        "  " + wrapped(text(c, "text"), 4) +
        (c.contains("can_hold") && !c.at("can_hold").as_bool() ? "  (not with this config)" : ""));
  if (f.at("claims").empty()) print_line("  none");
}

void print_layer(const Json& f) {
  title("Weights");
  Table table({"  NAME", "SHAPE", "COUNT", ""}, "llrl");
  for (const Json& w : f.at("weights").as_list())
    table.add({"  " + text(w, "name"), w.at("shape").dump(), grouped(*w.at("count").to_int64()),
               w.at("trainable").as_bool()   ? ""
               : w.at("statistic").as_bool() ? "statistic"
                                             : "not trained"});
  print(table.text());
  print_line("  " + grouped(*f.at("parameter_count").to_int64()) + " numbers, " +
             grouped(*f.at("trainable_count").to_int64()) + " of them trained");
  // Some types take a width from their input.
  print_line("  built for " + f.at("built_for").dump());
  if (!f.at("tables").empty()) title("Tables of a call");
  for (const Json& t : f.at("tables").as_list())
    print_line("  " + text(t, "name") + "  " + text(t, "dtype") + "  " + text(t, "shape"));
  title("State");
  const Json& state = f.at("state");
  if (state.is_null()) {
    print_line("  none: every call stands alone");
    return;
  }
  const Json& capacity = state.at("capacity");
  print_line("  kept from call to call when one is attached" +
             (capacity.is_null()         ? std::string("; of fixed length from the first call on")
              : *capacity.to_int64() > 0 ? "; up to " + capacity.dump() + " positions"
                                         : "; as many positions as it is made for"));
  for (const Json& s : state.at("kept").as_list())
    print_line("  " + text(s, "name") + "  " + s.at("shape").dump());
}

// Of a type, whatever the configuration.
void print_kept(const Json& f) {
  title("State");
  if (!f.at("keeps_state").as_bool()) return print_line("  none: every call stands alone");
  const Json& with = f.at("state_with");
  print_line("  " + (with.is_null() ? std::string() : "with " + with.as_string() + ": ") +
             "kept from call to call when one is attached");
}

void print_cost(const Json& c) {
  title("Cost of one call");
  print_line("  inputs     " + c.at("inputs").dump());
  print_line("  outputs    " + c.at("outputs").dump());
  print_line("  flops      " + human_count(c.at("flops").to_double()));
  print_line("  bytes      " + human_bytes(c.at("bytes").to_double()));
  print_line("  workspace  " + human_bytes(c.at("workspace_bytes").to_double()));
}

int run_info(const Globals& globals, const InfoOptions& options) {
  const TypeEntry entry = find_attention_type(options.type);
  std::optional<ConfigFile> config;
  if (!options.config.empty()) config.emplace(options.config, options.section).validate();
  const NamedShapes shapes =
      parse_shapes(*entry.type, options.shapes, config ? config->parameters() : Json::object());
  CallArguments arguments;
  for (const std::string& given : options.arguments) arguments.add_assignment(given);
  if (!options.arguments.empty() && shapes.empty())
    throw InvalidArgument("--arg needs --shape: it is an argument of the call whose cost is shown",
                          {.where = "--arg", .hint = "add --shape INPUT=2,16,64"});
  std::unique_ptr<Attention> layer;
  if (config) {
    if (config->type() != options.type)
      throw InvalidArgument(
          options.config + ": is of type '" + config->type() + "', not '" + options.type + "'",
          {.where = options.config, .expected = "a configuration of type '" + options.type + "'"});
    const QuietLog quiet;
    layer = config->create();
  } else if (!shapes.empty()) {
    throw InvalidArgument("--shape needs --config: costs depend on the configuration",
                          {.where = "--shape", .hint = "add --config FILE"});
  }
  Json facts = schema_facts(entry);
  if (layer) {
    const Json built = layer_facts(*layer, shapes);
    for (const auto& [key, value] : built.as_object()) facts.set(key, value);
    facts.set("config", layer->config());
    const std::vector<ClaimInfo> claims = claims_of(*entry.type);
    Json list = Json::list({});
    for (size_t i = 0; i < claims.size(); ++i) {
      Json claim = facts.at("claims").at(i);
      claim.set("can_hold", claim_can_hold(*layer, claims[i]));
      list.push_back(claim);
    }
    facts.set("claims", list);
    if (!shapes.empty()) facts.set("cost", cost_facts(*layer, shapes, arguments));
  } else {
    const KeepsState kept = keeps_state(*entry.type);
    facts.set("keeps_state", kept.keeps);
    facts.set("state_with", kept.with.empty() ? Json() : Json(kept.with));
  }
  if (globals.json) {
    print_line(facts.dump(1));
    return kDone;
  }
  print_schema(facts);
  print_claims(facts);
  if (facts.contains("weights"))
    print_layer(facts);
  else
    print_kept(facts);
  if (facts.contains("cost")) print_cost(facts.at("cost"));
  return kDone;
}

}  // namespace

Command info_command(CLI::App& program, const Globals& globals) {
  CLI::App* app = program.add_subcommand(
      "info", "One type: parameters, inputs, arguments, outputs; weights and cost of a layer");
  auto o = std::make_shared<InfoOptions>();
  app->add_option("TYPE", o->type, "Name of the type; attn list shows them")->required();
  app->add_option("--config", o->config, "Configuration: also weights and states")
      ->type_name("FILE");
  app->add_option("--section", o->section, "Where the layer stands in the file: a.b.c");
  app->add_option("--shape", o->shapes,
                  "With --config: also the cost for such an input; repeatable")
      ->type_name("INPUT=2,16,64")
      ->allow_extra_args(false);
  app->add_option("--arg", o->arguments, "With --shape: an argument of that call; repeatable")
      ->type_name("NAME=JSON")
      ->allow_extra_args(false);
  add_examples(*app, {"attn info TYPE", "attn info TYPE --json",
                      "attn info TYPE --config layer.json --shape inputs=2,16,64"});
  return {app, [&globals, o] { return run_info(globals, *o); }};
}

}  // namespace attn::cli
