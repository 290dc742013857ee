// SPDX-License-Identifier: Apache-2.0
#include "core/schema/json_schema/json_schema.hpp"

#include <algorithm>

#include "core/schema/families/activation.hpp"
#include "core/schema/families/norm.hpp"
#include "core/schema/families/probability.hpp"
#include "core/schema/families/program.hpp"
#include "core/schema/families/rotary.hpp"
#include "core/schema/json_schema/rules.hpp"
#include "core/schema/param_check.hpp"
#include "core/schema/validate.hpp"
#include "core/schema/value.hpp"
#include "core/schema/value_kind.hpp"

namespace attn::schema {
namespace json_schema {
namespace {

bool has(const attn_param& p, std::uint32_t flag) { return (p.flags & flag) != 0; }

// A name in any letter case.
Json any_case(const Names& names) {
  std::string pattern;
  for (const std::string& name : names) {
    pattern += pattern.empty() ? "^(" : "|";
    for (const char c : name) {
      const bool letter = c >= 'a' && c <= 'z';
      pattern +=
          letter ? std::string{'[', c, static_cast<char>(c - 'a' + 'A'), ']'} : std::string(1, c);
    }
  }
  return {{"type", "string"}, {"pattern", pattern + ")$"}};
}

void add_bounds(const attn_param& p, bool integer, Json& schema) {
  if (integer) {
    schema.set("minimum", kLowest);
    schema.set("maximum", p.kind == ATTN_PARAM_SEED ? kLargestSeed : kHighest);
  }
  if (p.kind == ATTN_PARAM_SEED) return schema.set("minimum", 0);
  if (has(p, ATTN_PARAM_HAS_MIN)) {
    const bool open = has(p, ATTN_PARAM_EXCLUSIVE_MIN);
    if (open) schema.erase("minimum");
    schema.set(open ? "exclusiveMinimum" : "minimum", to_json(p, p.min));
  }
  if (has(p, ATTN_PARAM_HAS_MAX)) {
    const bool open = has(p, ATTN_PARAM_EXCLUSIVE_MAX);
    if (open) schema.erase("maximum");
    schema.set(open ? "exclusiveMaximum" : "maximum", to_json(p, p.max));
  }
  if (integer && has(p, ATTN_PARAM_ODD)) schema.set("not", {{"multipleOf", 2}});
}

Json number(const attn_param& p, bool integer) {
  Json schema = {{"type", integer ? "integer" : "number"}};
  add_bounds(p, integer, schema);
  return schema;
}

Json by_kind(const attn_param& p, Definitions& definitions) {
  Names names(p.choices, p.choices + p.n_choices);
  switch (p.kind) {
    case ATTN_PARAM_BOOL:
      return {{"type", "boolean"}};
    case ATTN_PARAM_INT:
    case ATTN_PARAM_SEED:
      return number(p, true);
    case ATTN_PARAM_REAL:
      return number(p, false);
    case ATTN_PARAM_TEXT:
      return names.empty() ? Json{{"type", "string"}} : one_of(names);
    case ATTN_PARAM_INTS:
    case ATTN_PARAM_REALS:
      return {{"type", "array"}, {"items", number(p, p.kind == ATTN_PARAM_INTS)}};
    case ATTN_PARAM_INT_OR_PAIR: {
      Json schema = number(p, true);
      schema.set("items", schema);
      schema.set("minItems", 2);
      schema.set("maxItems", takes_three(p) ? 3 : 2);
      schema.set("type", Json::list({"integer", "array"}));
      return schema;
    }
    case ATTN_PARAM_PROBABILITY:
      names = probabilities().names();
      return {{"anyOf", Json::list({one_of(names), any_case(names)})}};
    case ATTN_PARAM_NORM:
      for (const std::string& name : norms().names()) names.push_back(name);
      return one_of(names);
    case ATTN_PARAM_ACTIVATION:
      return one_of(activations().names());
    case ATTN_PARAM_INITIALIZER:
      return definitions.initializer();
    case ATTN_PARAM_REGULARIZER:
      return definitions.regularizer();
    case ATTN_PARAM_OPTIONS:
      return {{"type", "object"}};
    default:
      return {{"not", Json::object()}};  // of a later version: nothing is taken
  }
}

const attn_param* find(const attn_type& type, std::string_view name) {
  for (std::uint32_t i = 0; i < type.n_params; ++i)
    if (name == type.params[i]->name) return type.params[i];
  return nullptr;
}

// The properties and rules of one type.
class TypeSchema {
 public:
  TypeSchema(const SchemaType& source, Definitions& definitions)
      : type_(*source.type), definitions_(definitions) {
    add_common(source.claims);
    for (const attn_param* p : ordered_params(type_)) add(*p);
    for (const attn_param* p : ordered_params(type_))
      if (p->kind == ATTN_PARAM_OPTIONS) add_options(*p);
    for (std::uint32_t i = 0; i < type_.n_rules; ++i) {
      if (const auto rule = rule_schema(type_, *type_.rules[i], definitions_))
        rules_.push_back(*rule);
      else
        unsaid_.emplace_back(type_.rules[i]->text);
    }
  }

  [[nodiscard]] Json schema() const {
    Json schema = {{"description", std::string(type_.description) + "\n\n" + type_.use_case},
                   {"properties", properties_},
                   {"required", required_},
                   {"additionalProperties", false}};
    if (!rules_.empty()) schema.set("allOf", rules_);
    if (!unsaid_.empty()) schema.set("$comment", "Not said here: " + name_list(unsaid_));
    return schema;
  }
  [[nodiscard]] std::size_t unsaid() const noexcept { return unsaid_.size(); }

 private:
  void add_common(const Names& claims) {
    Json require = {{"description", "claims that the type has to make for this configuration"},
                    {"type", "array"},
                    {"items", claims.empty() ? Json(false) : one_of(claims)}};
    properties_ = {
        {"type", {{"const", type_.id}, {"description", "the attention type"}}},
        {"name",
         {{"description", "of the layer; absent, null or \"\": made from the class"},
          {"type", Json::list({"string", "null"})},
          {"pattern", "^[^/]*$"},
          {"default", nullptr}}},
        {"$schema", {{"description", "the schema that editors use; the library does not"}}},
        {"$require", require}};
  }

  void add(const attn_param& p) {
    Json schema = by_kind(p, definitions_);
    if (is_nullable(p)) schema = or_null(std::move(schema));
    schema.set("description", p.doc == nullptr ? "" : p.doc);
    const bool required = has(p, ATTN_PARAM_REQUIRED);
    if (!required) schema.set("default", to_json(p, p.def));
    properties_.set(p.name, schema);
    for (std::uint32_t i = 0; i < p.n_aliases; ++i) {
      schema.set("description", std::string("the same as ") + p.name);
      properties_.set(p.aliases[i], schema);
    }
    if (required && p.n_aliases == 0) required_.push_back(p.name);
    if (required && p.n_aliases > 0) rules_.push_back(given(p));
    const Names names = spellings(p);
    for (std::size_t i = 0; i < names.size(); ++i)
      for (std::size_t k = 0; k < i; ++k)
        rules_.push_back({{"not", {{"required", Json::list({names[k], names[i]})}}}});
  }

  // The options of a parameter by what it is: members with the same options stand together.
  void add_options(const attn_param& p) {
    const attn_param* owner = p.of == nullptr ? nullptr : find(type_, p.of);
    if (owner == nullptr && names_itself(p)) add_self_named(p, rotary_scalings());
    if (is_captures(p)) add_captures(p);
    if (owner == nullptr) return;
    const Family* family = owner->kind == ATTN_PARAM_PROBABILITY  ? &probabilities()
                           : owner->kind == ATTN_PARAM_NORM       ? &norms()
                           : owner->kind == ATTN_PARAM_ACTIVATION ? &activations()
                                                                  : nullptr;
    if (family == nullptr) return;
    const auto forced = [&](const char* choice) { return std::string_view(choice) == "!axis"; };
    const bool axis_is_forced = std::any_of(p.choices, p.choices + p.n_choices, forced) &&
                                owner->kind == ATTN_PARAM_PROBABILITY;
    const Json by_default = to_json(*owner, owner->def);
    const std::string chosen = by_default.is_string()                 ? by_default.as_string()
                               : owner->kind == ATTN_PARAM_ACTIVATION ? "linear"
                                                                      : "";  // null is linear
    std::vector<std::pair<Json, std::vector<const FamilyMember*>>> groups;
    for (const FamilyMember& member : family->members) {
      const Json options = definitions_.options(*family, member, axis_is_forced);
      const auto same = std::find_if(groups.begin(), groups.end(),
                                     [&](const auto& group) { return group.first == options; });
      if (same == groups.end())
        groups.push_back({options, {&member}});
      else
        same->second.push_back(&member);
    }
    Json rules = Json::list({});
    for (const auto& [options, members] : groups) {
      Names names;
      bool is_default = false, linear = false;
      for (const FamilyMember* member : members) {
        names.emplace_back(member->name);
        names.insert(names.end(), member->aliases.begin(), member->aliases.end());
        is_default = is_default || member == family->find(chosen);
        linear = linear || std::string_view(member->name) == "linear";
      }
      Json owner_is = family->ignore_case ? any_case(names) : one_of(names);
      if (linear && owner->kind == ATTN_PARAM_ACTIVATION) owner_is = or_null(std::move(owner_is));
      rules.push_back(if_then(where(*owner, owner_is, is_default), where(p, options)));
    }
    Json all = {{"allOf", rules}};
    for (std::uint32_t i = p.n_choices; i-- > 0;) all = with_flag(p, p.choices[i], *family, all);
    rules_.push_back(definitions_.refer(std::string(p.name) + "-of-" + owner->name, all));
  }

  // An object that names the member beside its options.
  void add_self_named(const attn_param& p, const Family& family) {
    Json kinds = Json::list({{{"type", "null"}}});
    for (const FamilyMember& member : family.members)
      kinds.push_back(definitions_.options(family, member, false, p.of));
    rules_.push_back(where(p, {{"anyOf", kinds}}));
  }

  // Numbers, lists of them, weights, and tables that each call brings. Names of which no text reads any.
  void add_captures(const attn_param& p) {
    const auto shape = [](const Json& letters) {
      const Json extent = {
          {"anyOf", Json::list({{{"type", "integer"}, {"minimum", 1}}, {{"enum", letters}}})}};
      return Json{{"type", "array"}, {"maxItems", program::kMostAxes}, {"items", extent}};
    };
    const Json weight = {{"type", "object"},
                         {"properties",
                          {{"values", Json::object()},
                           {"shape", shape(Json::list({"H"}))},
                           {"initializer", Json::object()},
                           {"trainable", {{"type", "boolean"}}},
                           {"input", {{"const", false}}}}},
                         {"additionalProperties", false}};
    const Json table = {{"type", "object"},
                        {"properties",
                         {{"shape", shape(Json::list({"B", "H", "Q", "K"}))},
                          {"dtype", {{"enum", Json::list({"float", "i32"})}}},
                          {"input", {{"const", true}}}}},
                        {"required", Json::list({"shape", "input"})},
                        {"additionalProperties", false}};
    const Json capture = {
        {"anyOf",
         Json::list({{{"type", "number"}}, {{"type", "array"}, {"minItems", 1}}, weight, table})}};
    const Json all = definitions_.refer("captures", {{"additionalProperties", capture}});
    rules_.push_back(where(p, all));
    Json texts = Json::list({});
    for (std::uint32_t i = 0; i < type_.n_params; ++i)
      if (is_program(*type_.params[i]))
        texts.push_back(where(*type_.params[i], {{"type", "string"}}, false));
    if (texts.size() == 0) return;
    rules_.push_back(
        if_then(where(p, {{"type", "object"}, {"minProperties", 1}}, false), {{"anyOf", texts}}));
  }

  // "flag=member": while the flag is true, the options are that member's.
  Json with_flag(const attn_param& p, std::string_view choice, const Family& family,
                 const Json& otherwise) {
    const std::size_t equals = choice.find('=');
    const attn_param* flag =
        equals == std::string_view::npos ? nullptr : find(type_, choice.substr(0, equals));
    const FamilyMember* member = flag == nullptr ? nullptr : family.find(choice.substr(equals + 1));
    if (member == nullptr) return otherwise;
    const bool by_default = to_json(*flag, flag->def) == Json(true);
    Json schema = if_then(where(*flag, {{"const", true}}, by_default),
                          where(p, definitions_.options(family, *member)));
    schema.set("else", otherwise);
    return schema;
  }

  const attn_type& type_;
  Definitions& definitions_;
  Json properties_, required_ = Json::list({}), rules_ = Json::list({});
  Names unsaid_{};
};

}  // namespace
}  // namespace json_schema

Json config_schema(std::span<const SchemaType> types) {
  using json_schema::if_then;
  json_schema::Definitions definitions;
  Json names = Json::list({}), texts = Json::list({}), layers = Json::list({});
  std::size_t rules = 0, unsaid = 0;
  for (const SchemaType& t : types) {
    const json_schema::TypeSchema one(t, definitions);
    rules += t.type->n_rules;
    unsaid += one.unsaid();
    names.push_back(t.type->id);
    texts.push_back(t.type->description);
    layers.push_back(if_then(
        {{"properties", {{"type", {{"const", t.type->id}}}}}, {"required", Json::list({"type"})}},
        definitions.refer("type-" + std::string(t.type->id), one.schema())));
  }
  const Json type = {
      {"description", "the attention type"}, {"enum", names}, {"enumDescriptions", texts}};
  Json any = {
      {"type", "object"}, {"required", Json::list({"type"})}, {"properties", {{"type", type}}}};
  if (!layers.empty()) any.set("allOf", layers);
  const Json layer = definitions.refer("layer", any);
  return {
      {"$schema", "https://json-schema.org/draft/2020-12/schema"},
      {"title", "Configurations of attention layers"},
      {"$comment", std::to_string(unsaid) + " of " + std::to_string(rules) +
                       " rules between parameters are not said here; attn validate checks all"},
      {"if",
       {{"required", Json::list({"attention"})}, {"not", {{"required", Json::list({"type"})}}}}},
      {"then", {{"properties", {{"attention", layer}}}}},
      {"else", layer},
      {"$defs", definitions.all()}};
}

}  // namespace attn::schema
