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

// Whether both say the same; 1 and 1.0 do.
bool agree(const Json& a, const Json& b) {
  if (a.is_number() && b.is_number()) return a.to_double() == b.to_double();
  if (a.kind() != b.kind() || a.size() != b.size()) return false;
  if (a.is_list())
    return std::equal(a.as_list().begin(), a.as_list().end(), b.as_list().begin(), agree);
  if (!a.is_object()) return a == b;
  return std::all_of(a.as_object().begin(), a.as_object().end(), [&](const Json::Member& m) {
    const Json* other = b.find(m.first);
    return other && agree(m.second, *other);
  });
}

bool has(const Json* list, const Json& x) {
  return list &&
         std::find(list->as_list().begin(), list->as_list().end(), x) != list->as_list().end();
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
  if (const Json* text = config.find("text_config")) {
    beside_ = config;
    beside_.erase("text_config");
    config_ = Json(*text);
  }
  if (!config_.is_object()) family.refuse("config.json is no object");
  const Json* type = config_.find("model_type");
  const Json& types = family.table().at("model_types");
  if (type && !has(&types, *type))
    family.refuse("model_type is " + type->brief() + "; expected " + types.brief(),
                  "choose the family of that model", "model_type");
  for (const auto& [name, x] : config_.as_object())
    if (!x.is_null()) given_.insert(name);
  if (const Json* defaults = family.table().find("defaults"))
    for (const auto& [name, x] : defaults->as_object())
      if (!config_.contains(name)) config_.set(name, x);
  if (const Json count = key("num_hidden_layers"); !count.is_null()) {
    layers_ = count.is_integer() ? count.to_int64().value_or(0) : 0;
    if (layers_ < 1)
      family.refuse(
          "num_hidden_layers is " + count.brief() + "; expected a number of layers, 1 or more", {},
          "num_hidden_layers");
    if (layer < 0 || layer >= layers_)
      family.refuse("there is no layer " + std::to_string(layer) + "; the model has " +
                    count.number_text() + " layers");
  }
  if (const Json* kinds = family.table().find("kinds")) find_kind(*kinds);
}

// All that are listed are looked at, so that the first layer tells of what is wrong with others.
void ModelConfig::find_kind(const Json& kinds) {
  const Json list = value(kinds);
  const bool listed = given_.contains("layer_types");
  if (!list.is_list() || list.empty())
    family_.refuse("layer_types is " + list.brief() + "; expected a list of kinds of layers", {},
                   "layer_types");
  if (listed && layers_ > 0 && list.size() != static_cast<size_t>(layers_))
    family_.refuse("layer_types has " + std::to_string(list.size()) +
                       " entries, num_hidden_layers is " + std::to_string(layers_) +
                       "; expected one entry for each layer",
                   {}, "layer_types");
  const Json &converted = family_.table().at("converted"),
             *left_out = family_.table().find("left_out");
  for (size_t i = 0; i < list.size(); ++i)
    if (!has(&converted, list.at(i)) && !has(left_out, list.at(i)))
      family_.refuse("layer_types has " + list.at(i).brief() + " for layer " + std::to_string(i) +
                         "; expected one of " + converted.brief() +
                         (left_out ? " or, of layers that are left out, " + left_out->brief() : ""),
                     "layers of that kind are not known", "layer_types");
  kind_ = list.at(static_cast<size_t>(layer_) % list.size()).as_string();
}

bool ModelConfig::is_converted() const {
  const Json* kinds = family_.table().find("converted");
  return !kinds || has(kinds, Json(kind_));
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
  if (!std::isfinite(out))
    family_.refuse("config.json gives no finite " + operation + " of " + operands.brief());
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
    if (x.is_null()) return {};
    const std::string name = operand.is_string() ? operand.as_string() : operand.brief();
    if (!(real(&x, name) > 0))
      family_.refuse(
          "config.json has " + x.brief() + " for " + name + "; expected a number above 0", {},
          name);
    return 1 / std::sqrt(x.to_double());
  }
  if (operation == "if") {
    // Both are read, so that keys of the other one are known.
    const Json *then = e.find("then"), *otherwise = e.find("else");
    const Json a = then ? value(*then) : Json(), b = otherwise ? value(*otherwise) : Json();
    return is_true(value(operand)) ? a : b;
  }
  if (operation == "first" || operation == "same") {
    Json found, where;
    for (const Json& e1 : operand.as_list()) {
      Json x = value(e1);
      if (found.is_null())
        found = std::move(x), where = Json(e1);
      else if (operation == "same" && !x.is_null())
        same(where.as_string(), found, e1.as_string(), x);
    }
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

void ModelConfig::same(const std::string& name, const Json& x, const std::string& other,
                       const Json& y) const {
  if (agree(x, y)) return;
  family_.refuse(name + " is " + x.brief() + ", but " + other + " is " + y.brief() +
                     "; expected the same of both",
                 "take out the one that is not the model's", other);
}

// Of rope_theta and rope_scaling; theta_key: where the base is from.
ModelConfig::Rope ModelConfig::older_rope_rules(std::string& theta_key) {
  theta_key = "rope_theta";
  Rope out{.theta = key(theta_key),
           .share = key("partial_rotary_factor"),
           .scaling = scaling("rope_scaling", key("rope_scaling"))};
  if (const Json* local = family_.table().find("local_rope")) {
    const Json theta = key(local->at("theta").as_string());
    if (has(local->find("kinds"), Json(kind_)))
      theta_key = local->at("theta").as_string(), out.theta = theta, out.scaling = Json();
  }
  return out;
}

// Of rope_parameters, by the kind of the layer where they have it, or of the older keys. Both may stand there, when they
// say the same.
ModelConfig::Rope ModelConfig::rope_rules() {
  std::string theta_key;
  Rope out = older_rope_rules(theta_key);
  Json given = key("rope_parameters");
  if (given.is_null()) return out;
  std::string name = "rope_parameters";
  if (given.is_object() && !kind_.empty() && given.contains(kind_)) {
    Json own = given.at(kind_);
    given = std::move(own);
    name += "." + kind_;
  }
  if (!given.is_object())
    family_.refuse(name + " is " + given.brief() + "; expected an object", {}, "rope_parameters");
  const auto take = [&](Json& x, const char* entry, const std::string& older) {
    const Json* found = given.find(entry);
    if (!found || found->is_null()) return;
    if (given_.contains(older)) same(older, x, name + "." + entry, *found);
    x = *found;
    given.erase(entry);
  };
  take(out.theta, "rope_theta", theta_key);
  take(out.share, "partial_rotary_factor", "partial_rotary_factor");
  given.erase("rope_theta");
  given.erase("partial_rotary_factor");
  const Json scale = scaling(name, given);
  const auto told = [](const Json& x) { return x.is_null() ? Json{{"rope_type", "default"}} : x; };
  if (given_.contains("rope_scaling")) same("rope_scaling", told(out.scaling), name, told(scale));
  out.scaling = scale;
  return out;
}

Json ModelConfig::rope(const std::string& what) {
  Rope rules = rope_rules();
  scale_by_alpha(rules);
  const auto& [theta, share, scale] = rules;
  if (what == "theta") return theta;
  if (what == "share") return share;
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

// In the names of this library, with what stands beside it; null: none.
Json ModelConfig::scaling(const std::string& name, Json given) {
  const Json longest = key("max_position_embeddings");
  const Json original = key("original_max_position_embeddings");
  if (given.is_null()) return {};
  if (!given.is_object())
    family_.refuse(name + " is " + given.brief() + "; expected an object", {}, name);
  std::string kind;
  for (const char* entry : {"rope_type", "type"}) {  // `type` is the older name
    const Json* type = given.find(entry);
    if (!type || type->is_null()) continue;
    const std::string where = name + "." + entry;
    if (!type->is_string())
      family_.refuse(where + " is " + type->brief() + "; expected a text", {}, name);
    std::string found = type->as_string();
    if (found == "su") found = "longrope";  // older names of types
    if (found == "mrope") found = "default";
    if (!kind.empty()) same(name + ".rope_type", kind, where, found);
    kind = found;
  }
  if (kind.empty()) kind = "default";
  given.erase("type");
  given.set("rope_type", kind);
  if (kind == "default" && given.as_object().size() == 1) return {};
  if (const Json* own = given.find("original_max_position_embeddings");
      own && given_.contains("original_max_position_embeddings"))
    same("original_max_position_embeddings", original, name + ".original_max_position_embeddings",
         *own);
  if (kind != "default" && kind != "linear" && !given.contains("original_max_position_embeddings"))
    given.set("original_max_position_embeddings",
              original.is_null() || kind == "dynamic" ? longest : original);
  if (kind == "longrope" && !given.contains("factor"))
    given.set("factor", real(&longest, "max_position_embeddings") /
                            real(given.find("original_max_position_embeddings"),
                                 "original_max_position_embeddings"));
  return given;
}

// theta * alpha^(d / (d - 2)), after which nothing is scaled. Other numbers that stand there are those of YaRN, which
// these models do not read.
void ModelConfig::scale_by_alpha(Rope& rope) {
  const Json* size = family_.table().find("alpha_rope");
  const Json d = size ? value(*size) : Json();
  const Json* alpha = rope.scaling.find("alpha");
  if (!size || !alpha || !is_true(*alpha) || !(rope.scaling.at("rope_type") == Json("dynamic")))
    return;
  const double width = real(&d, "head_dim"), by = real(alpha, "rope_scaling.alpha");
  if (!(width > 2) || !(by > 0))
    family_.refuse("rope_scaling.alpha is " + alpha->brief() + " and head_dim is " + d.brief() +
                       "; expected an alpha above 0 and a head_dim above 2",
                   {}, "rope_scaling");
  Json rest = rope.scaling;
  if (const Json* factor = rest.find("factor"); factor && agree(*factor, 1)) rest.erase("factor");
  for (const char* name : {"rope_type", "alpha", "original_max_position_embeddings", "beta_fast",
                           "beta_slow", "mscale", "mscale_all_dim"})
    rest.erase(name);
  if (!rest.empty())
    family_.refuse(
        "rope_scaling has " + rest.brief() + " beside alpha; expected no more than factor 1", {},
        "rope_scaling");
  rope.theta = real(&rope.theta, "rope_theta") * std::pow(by, width / (width - 2));
  rope.scaling = Json();
}

Json ModelConfig::section(const char* name) {
  Json out = Json::object();
  std::set<std::string> before;
  if (const Json* entries = family_.table().find(name))
    for (const auto& [parameter, expression] : entries->as_object()) {
      before.swap(read_);
      if (Json x = value(expression); !x.is_null()) out.set(parameter, x);
      parameter_keys_[parameter] = read_;
      read_.merge(before);
      before.clear();
    }
  return out;
}

std::vector<std::string> ModelConfig::keys_of(const std::string& parameter) const {
  std::vector<std::string> out;
  if (const auto found = parameter_keys_.find(parameter); found != parameter_keys_.end())
    std::set_intersection(found->second.begin(), found->second.end(), given_.begin(), given_.end(),
                          std::back_inserter(out));
  return out;
}

bool ModelConfig::check_must(const std::string& name, const Json& x) const {
  const Json* musts = family_.table().find("must");
  const Json* must = musts ? musts->find(name) : nullptr;
  if (!must) return false;
  const Json& values = must->at(0);
  if (!has(&values, x))
    family_.refuse(name + " is " + x.brief() + "; expected " +
                       (values.size() == 1 ? values.at(0) : values).brief() + ": " +
                       must->at(1).as_string(),
                   {}, name);
  return true;
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
  for (const auto& [name, x] : config_.as_object())
    if (!check_must(name, x) && !known.contains(name)) rest.push_back(name);
  // Beside text_config nothing is read: what stands there has to say nothing, or the same again.
  add(&ignored_beside_keys());
  for (const auto& [name, x] : beside_.as_object()) {
    const Json* inner = config_.find(name);
    if (x.is_null() || (inner && agree(*inner, x))) continue;
    if (!check_must(name, x) && (read_.contains(name) || !known.contains(name)))
      rest.push_back(name);
  }
  if (!rest.empty())
    family_.refuse(
        "config.json has rules that this family does not know: " + schema::name_list(rest),
        "take out what is not about attention; nothing is dropped in silence", rest.front());
}

}  // namespace attn::conversion
