// SPDX-License-Identifier: Apache-2.0
#include "core/schema/json_schema/parts.hpp"

#include <algorithm>

#include "core/schema/families/constraint.hpp"
#include "core/schema/families/initializer.hpp"
#include "core/schema/families/probability.hpp"
#include "core/schema/families/regularizer.hpp"
#include "core/schema/json_text.hpp"

namespace attn::schema::json_schema {
namespace {

const Json kNull = {{"type", "null"}};

void add_range(Json& schema, Range range) {
  switch (range) {
    case Range::any:
      return;
    case Range::positive:
      return schema.set("exclusiveMinimum", 0);
    case Range::not_negative:
      return schema.set("minimum", 0);
    case Range::unit:
      schema.set("minimum", 0);
      return schema.set("maximum", 1);
    case Range::open_unit:
      schema.set("exclusiveMinimum", 0);
      return schema.set("exclusiveMaximum", 1);
  }
}

Names names_of(const FamilyMember& member) {
  Names names = {member.name};
  names.insert(names.end(), member.aliases.begin(), member.aliases.end());
  return names;
}

bool has_required(const FamilyMember& member) {
  return std::any_of(member.options.begin(), member.options.end(),
                     [](const Option& o) { return o.required; });
}

}  // namespace

Json one_of(const Names& names) { return {{"enum", names}}; }

Json or_null(Json schema) {
  if (const Json* names = schema.find("enum")) {
    Json more = *names;
    more.push_back(nullptr);
    schema.set("enum", more);
    return schema;
  }
  if (const Json* type = schema.find("type")) {
    Json types = type->is_list() ? *type : Json::list({*type});
    types.push_back("null");
    schema.set("type", types);
    return schema;
  }
  return {{"anyOf", Json::list({schema, kNull})}};
}

Names spellings(const attn_param& param) {
  Names names = {param.name};
  names.insert(names.end(), param.aliases, param.aliases + param.n_aliases);
  return names;
}

Json where(const attn_param& param, const Json& value) {
  Json properties = Json::object();
  for (const std::string& name : spellings(param)) properties.set(name, value);
  return {{"properties", properties}};
}

Json where(const attn_param& param, const Json& value, bool by_default) {
  Json schema = where(param, value);
  if (by_default) return schema;
  const Json there = given(param);
  for (const Json::Member& rule : there.as_object()) schema.set(rule.first, rule.second);
  return schema;
}

Json given(const attn_param& param) {
  if (param.n_aliases == 0) return {{"required", Json::list({param.name})}};
  Json any = Json::list({});
  for (const std::string& name : spellings(param))
    any.push_back({{"required", Json::list({name})}});
  return {{"anyOf", any}};
}

Json absent(const attn_param& param) { return {{"not", given(param)}}; }

Json if_then(Json condition, Json consequence) {
  return {{"if", std::move(condition)}, {"then", std::move(consequence)}};
}

Json Definitions::refer(const std::string& name, const Json& schema) {
  std::string key = name;
  for (const Json::Member& known : all_.as_object())
    if (known.second == schema) return {{"$ref", "#/$defs/" + known.first}};
  for (int n = 2; all_.contains(key); ++n) key = name + "-" + std::to_string(n);
  all_.set(key, schema);
  return {{"$ref", "#/$defs/" + key}};
}

Json Definitions::initializer() { return named(initializers(), "initializer"); }
Json Definitions::regularizer() { return named(regularizers(), "regularizer"); }

// A name, or an object of class_name and config.
Json Definitions::named(const Family& family, const char* text) {
  const bool by_name = &family != &constraints();
  Names names, all;
  Json rules = Json::list({});
  for (const FamilyMember& member : family.members) {
    const Names own = names_of(member);
    all.insert(all.end(), own.begin(), own.end());
    if (!has_required(member)) names.insert(names.end(), own.begin(), own.end());
    Json then = {{"properties", {{"config", options(family, member)}}}};
    if (has_required(member)) then.set("required", Json::list({"config"}));
    rules.push_back(if_then({{"properties", {{"class_name", one_of(own)}}}}, then));
  }
  const Json object = {{"type", "object"},
                       {"properties",
                        {{"class_name", one_of(all)},
                         {"config", {{"description", "its options"}}},
                         {"module", true},
                         {"registered_name", true}}},
                       {"required", Json::list({"class_name"})},
                       {"additionalProperties", false},
                       {"allOf", rules}};
  return refer(text, by_name ? Json{{"anyOf", Json::list({one_of(names), object})}} : object);
}

Json Definitions::options(const Family& family, const FamilyMember& member, bool axis_is_forced,
                          const char* key) {
  Json properties = Json::object(), required = Json::list({}), rules = Json::list({});
  if (key != nullptr) {
    properties.set(key, {{"const", member.name}});
    required.push_back(key);
  }
  for (const Option& o : member.options) {
    const bool is_axis = o.kind == OptionKind::axis || o.kind == OptionKind::axes;
    properties.set(o.name, option(family, o, is_axis && axis_is_forced));
    if (o.required) required.push_back(o.name);
    if (o.only_with.first == nullptr) continue;
    // Beside another choice it must be absent, or null.
    Names others;
    for (const Option& owner : member.options)
      if (std::string_view(owner.name) == o.only_with.first)
        others.assign(owner.choices.begin(), owner.choices.end());
    std::erase(others, o.only_with.second);
    rules.push_back(if_then({{"properties", {{o.only_with.first, one_of(others)}}},
                             {"required", Json::list({o.only_with.first})}},
                            {{"properties", {{o.name, kNull}}}}));
  }
  Json schema = {{"type", required.empty() ? Json::list({"object", "null"}) : Json("object")},
                 {"properties", properties},
                 {"additionalProperties", false}};
  if (!required.empty()) schema.set("required", required);
  if (!rules.empty()) schema.set("allOf", rules);
  if (properties.empty()) return refer("no-options", schema);
  std::string name = std::string(family.option_of) + "-" + member.name;
  std::replace(name.begin(), name.end(), ' ', '-');
  return refer(name + (axis_is_forced ? "-any-axis" : ""), schema);
}

Json Definitions::option(const Family& family, const Option& option, bool axis_is_forced) {
  Json schema = Json::object();
  const auto axis = [&] {
    Json one = {{"type", "integer"}, {"minimum", kLowest}, {"maximum", kHighest}};
    if (axis_is_forced) return one;
    one.set("not", {{"const", 0}});  // the batch
    if (&family != &probabilities()) return one;
    one.set("minimum", 1 - kScoreRank);
    one.set("maximum", kScoreRank - 1);
    return one;
  };
  switch (option.kind) {
    case OptionKind::real:
      schema.set("type", "number");
      break;
    case OptionKind::integer:
      schema.set("type", "integer");
      break;
    case OptionKind::seed:
      schema = {{"type", "integer"}, {"minimum", kLowest}, {"maximum", kLargestSeed}};
      break;
    case OptionKind::boolean:
      schema.set("type", "boolean");
      break;
    case OptionKind::axis:
      schema = axis();
      break;
    case OptionKind::axes:
      schema = axis();
      schema.set("type", Json::list({"integer", "array"}));
      schema.set("items", axis());
      schema.set("minItems", 1);
      schema.set("uniqueItems", true);
      break;
    case OptionKind::reals:
      schema = {{"type", "array"}, {"items", {{"type", "number"}}}};
      break;
    case OptionKind::text:
      schema = one_of(Names(option.choices.begin(), option.choices.end()));
      break;
    case OptionKind::initializer:
      schema = initializer();
      break;
    case OptionKind::regularizer:
      schema = regularizer();
      break;
    case OptionKind::constraint:
      schema = named(constraints(), "constraint");
      break;
    case OptionKind::nothing:
      schema = kNull;
      break;
  }
  add_range(schema, option.range);
  if (option.nullable && option.kind != OptionKind::nothing) schema = or_null(std::move(schema));
  if (!option.required) schema.set("default", parse_json(option.def));
  return schema;
}

}  // namespace attn::schema::json_schema
