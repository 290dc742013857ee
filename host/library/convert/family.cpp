// SPDX-License-Identifier: Apache-2.0
#include "host/library/convert/family.hpp"

#include <attn/convert.hpp>
#include <attn/error.hpp>

#include <algorithm>
#include <cmath>

#include "core/schema/text.hpp"
#include "host/library/convert/form.hpp"

namespace attn::conversion {
namespace {

const Json kNull{};

bool is_true(const Json& x) {
  if (x.is_null()) return false;
  if (x.is_bool()) return x.as_bool();
  return !x.is_number() || x.to_double() != 0;
}

// base with what `over` says otherwise, objects entry by entry; null takes away.
Json merged(Json base, const Json& over) {
  for (const auto& [key, value] : over.as_object()) {
    const Json* old = base.find(key);
    if (value.is_null())
      base.erase(key);
    else
      base.set(key, old && old->is_object() && value.is_object() ? merged(*old, value) : value);
  }
  return base;
}

// Numbers that are whole stay whole.
Json as_number(double x) {
  constexpr double kWhole = 1LL << 53;
  return std::fabs(x) <= kWhole && std::trunc(x) == x ? Json(static_cast<int64_t>(x)) : Json(x);
}

}  // namespace

Family Family::named(const std::string& name) {
  Family family;
  family.name_ = name;
  const Json* table = model_families().find(name);
  if (!table) {
    schema::Names names;
    for (const auto& [known, t] : model_families().as_object()) names.push_back(known);
    throw refusal("no family '" + name + "' of models; known are " + schema::name_list(names),
                  {.value = name, .hint = schema::did_you_mean(name, names)});
  }
  family.table_ = *table;
  return family;
}

Json joined_families(Json tables) {
  tables.erase("ignored");
  const Json plain = tables;
  for (const auto& [name, own] : plain.as_object()) {
    Json table = own;
    while (const Json* like = table.find("like")) {
      const Json base = plain.at(like->as_string());
      table.erase("like");
      table = merged(base, table);
    }
    tables.set(name, table);
  }
  return tables;
}

void Family::refuse(const std::string& text, const std::string& hint,
                    const std::string& key) const {
  throw refusal(name_ + " (" + title() + "): " + text,
                {.where = name_, .parameter = key, .hint = hint});
}

ModelConfig::ModelConfig(const Family& family, const Json& config, int64_t layer)
    : family_(family), config_(config), layer_(layer) {
  // Models of several parts keep that of the language model apart.
  if (const Json* text = config.find("text_config")) config_ = *text;
  if (!config_.is_object()) family.refuse("config.json is no object");
  const Json* type = config_.find("model_type");
  const Json::List& types = family.table().at("model_types").as_list();
  if (type && std::find(types.begin(), types.end(), *type) == types.end())
    family.refuse(
        "model_type is " + type->brief() + "; expected " + family.table().at("model_types").brief(),
        "choose the family of that model", "model_type");
  if (const Json* defaults = family.table().find("defaults"))
    for (const auto& [name, x] : defaults->as_object())
      if (!config_.contains(name)) config_.set(name, x);
  const Json count = key("num_hidden_layers");
  if (count.is_integer() && (layer < 0 || layer >= count.to_int64().value_or(0)))
    family.refuse("there is no layer " + std::to_string(layer) + "; the model has " +
                  count.number_text() + " layers");
  if (const Json* kinds = family.table().find("kinds")) {
    const Json list = value(*kinds);
    if (!list.is_list() || list.empty()) family.refuse("config.json does not tell kinds of layers");
    const Json& own = list.at(static_cast<size_t>(layer) % list.size());
    if (!own.is_string())
      family.refuse("the kind of layer " + std::to_string(layer) + " is no text");
    kind_ = own.as_string();
  }
}

bool ModelConfig::is_converted() const {
  const Json* kinds = family_.table().find("converted");
  if (!kinds) return true;
  const Json::List& list = kinds->as_list();
  return std::find(list.begin(), list.end(), Json(kind_)) != list.end();
}

Json ModelConfig::key(const std::string& name) {
  read_.insert(name);
  const Json* x = config_.find(name);
  return x ? *x : Json();
}

Json ModelConfig::number(const std::string& operation, const Json& operands) {
  double out = operation == "sum" ? 0 : 1;
  bool first = true;
  for (const Json& e : operands.as_list()) {
    const Json x = value(e);
    if (x.is_null()) return {};
    if (!x.is_number()) family_.refuse("config.json has " + x.brief() + " for " + e.brief());
    const double d = x.to_double();
    if (operation == "sum")
      out += d;
    else if (operation == "product")
      out *= d;
    else
      out = first ? d : out / d;
    first = false;
  }
  return as_number(out);
}

Json ModelConfig::kinds(const Json& e) {
  const auto whole = [&](const Json& expression) {
    const Json x = value(expression);
    if (!x.is_integer() || !x.to_int64())
      family_.refuse("config.json has " + x.brief() + " for " + expression.brief() +
                     "; expected a whole number");
    return *x.to_int64();
  };
  if (const Json* every = e.find("every")) {
    const int64_t n = std::max<int64_t>(whole(*every), 1);
    return Json::list({e.at(layer_ % n == n - 1 ? "last" : "others")});
  }
  return Json::list({e.at(layer_ >= whole(e.at("from_layer")) ? "after" : "before")});
}

double ModelConfig::real(const Json* x, const std::string& name) const {
  if (x == nullptr || !x->is_number())
    family_.refuse(
        "config.json has " + (x ? x->brief() : "nothing") + " for " + name + "; expected a number",
        {}, name);
  return x->to_double();
}

Json ModelConfig::value(const Json& e) {
  if (e.is_string()) return key(e.as_string());
  const auto& [operation, operand] = e.as_object().front();
  if (operation == "value") return operand;
  if (operation == "product" || operation == "quotient" || operation == "sum")
    return number(operation, operand);
  if (operation == "inverse_sqrt") {
    const Json x = value(operand);
    return x.is_number() ? Json(1 / std::sqrt(x.to_double())) : Json();
  }
  if (operation == "if") {
    // Both are read, so that keys of the other one are known.
    const Json *then = e.find("then"), *otherwise = e.find("else");
    const Json a = then ? value(*then) : Json(), b = otherwise ? value(*otherwise) : Json();
    return is_true(value(operand)) ? a : b;
  }
  if (operation == "first") {
    Json found;
    for (const Json& e1 : operand.as_list())
      if (Json x = value(e1); found.is_null()) found = std::move(x);
    return found;
  }
  if (operation == "object") {
    Json out = Json::object();
    for (const auto& [name, x] : operand.as_object())
      if (Json found = value(x); !found.is_null()) out.set(name, found);
    return out;
  }
  if (operation == "by_kind") {
    Json found;
    for (const auto& [kind, x] : operand.as_object()) {
      Json other = value(x);  // keys of other kinds are known, too
      if (kind == kind_) found = std::move(other);
    }
    return found;
  }
  if (operation == "every" || operation == "from_layer") return kinds(e);
  return rope(operand.as_string());
}

// Of rope_parameters, by the kind of the layer where they have it, or the older rope_theta and rope_scaling.
Json ModelConfig::rope(const std::string& what) {
  Json given = key("rope_parameters"), theta = key("rope_theta"),
       scaling_given = key("rope_scaling");
  Json share = key("partial_rotary_factor");
  const Json* local = family_.table().find("local_rope");
  const Json local_theta = local ? key(local->at("theta").as_string()) : Json();
  if (given.is_object()) {
    const Json* own = kind_.empty() ? nullptr : given.find(kind_);
    if (own && !own->is_object())
      family_.refuse("rope_parameters." + kind_ + " is " + own->brief() + "; expected an object",
                     {}, "rope_parameters");
    if (own) given = Json(*own);  // a copy: it lies within
    if (const Json* x = given.find("rope_theta")) theta = *x;
    if (const Json* x = given.find("partial_rotary_factor")) share = *x;
    given.erase("rope_theta");
    given.erase("partial_rotary_factor");
    scaling_given = given;
  } else if (local) {
    const Json::List& list = local->at("kinds").as_list();
    if (std::find(list.begin(), list.end(), Json(kind_)) != list.end())
      theta = local_theta, scaling_given = Json();
  }
  if (what == "theta") return theta;
  if (what == "share") return share;
  const Json scale = scaling(scaling_given);
  if (what == "scaling") return scale;
  if (what == "positions") {
    const Json longest = key("max_position_embeddings");
    if (!scale.is_object() || !(scale.at("rope_type") == Json("dynamic"))) return longest;
    return as_number(std::trunc(real(&longest, "max_position_embeddings") *
                                real(scale.find("factor"), "rope_scaling.factor")));
  }
  // score_factor: m^2 with m = 0.1 mscale_all_dim ln(factor) + 1, by which scores of long contexts grow
  const Json* all = scale.is_object() ? scale.find("mscale_all_dim") : nullptr;
  const Json* factor = scale.is_object() ? scale.find("factor") : nullptr;
  if (!all || !factor || !is_true(*all)) return 1;
  const double times = real(factor, "rope_scaling.factor");
  if (times <= 1) return 1;
  const double m = 0.1 * real(all, "rope_scaling.mscale_all_dim") * std::log(times) + 1;
  return m * m;
}

Json ModelConfig::scaling(Json given) {
  const Json longest = key("max_position_embeddings");
  const Json original = key("original_max_position_embeddings");
  if (!given.is_object()) return {};
  if (const Json* type = given.find("type")) {  // the older name, and older names of types
    if (!given.contains("rope_type")) given.set("rope_type", *type);
    given.erase("type");
  }
  const Json* type = given.find("rope_type");
  std::string kind = type && type->is_string() ? type->as_string() : "default";
  if (kind == "su") kind = "longrope";
  if (kind == "mrope") kind = "default";
  given.set("rope_type", kind);
  if (kind == "default" && given.as_object().size() == 1) return {};
  if (kind != "default" && kind != "linear" && !given.contains("original_max_position_embeddings"))
    given.set("original_max_position_embeddings",
              original.is_null() || kind == "dynamic" ? longest : original);
  if (kind == "longrope" && !given.contains("factor"))
    given.set("factor", real(&longest, "max_position_embeddings") /
                            real(given.find("original_max_position_embeddings"),
                                 "original_max_position_embeddings"));
  return given;
}

Json ModelConfig::section(const char* name) {
  Json out = Json::object();
  if (const Json* entries = family_.table().find(name))
    for (const auto& [parameter, expression] : entries->as_object())
      if (Json x = value(expression); !x.is_null()) out.set(parameter, x);
  return out;
}

void ModelConfig::refuse_rest() const {
  std::set<std::string> known = read_;
  const auto add = [&](const Json* list) {
    if (list)
      for (const Json& k : list->as_list()) known.insert(k.as_string());
  };
  add(&ignored_model_keys());
  add(family_.table().find("ignored"));
  schema::Names rest;
  for (const auto& [name, x] : config_.as_object()) {
    const Json* musts = family_.table().find("must");
    const Json* must = musts ? musts->find(name) : nullptr;
    if (must) {
      const Json::List& values = must->at(0).as_list();
      if (std::find(values.begin(), values.end(), x) == values.end())
        family_.refuse(name + " is " + x.brief() + "; expected " + must->at(0).brief() + ": " +
                           must->at(1).as_string(),
                       {}, name);
    } else if (!known.contains(name)) {
      rest.push_back(name);
    }
  }
  if (!rest.empty())
    family_.refuse(
        "config.json has rules that this family does not know: " + schema::name_list(rest),
        "take out what is not about attention; nothing is dropped in silence", rest.front());
}

}  // namespace attn::conversion
