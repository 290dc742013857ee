// SPDX-License-Identifier: Apache-2.0
#include <attn/convert.hpp>
#include <attn/error.hpp>
#include <attn/factory.hpp>
#include <attn/log.hpp>

#include <algorithm>

#include "core/schema/text.hpp"
#include "host/library/convert/form.hpp"
#include "host/library/layer/construct.hpp"

namespace attn {

using conversion::Form;
using conversion::Parts;

namespace {

constexpr size_t kShown = 6;  // modules that a message lists

std::string without_separator(const std::string& prefix) {
  return prefix.empty() ? prefix : prefix.substr(0, prefix.size() - 1);
}

bool lies_in(const std::string& prefix, const std::string& place) {
  return place.empty() || without_separator(prefix) == place || prefix == place ||
         (prefix.starts_with(place) &&
          (place.back() == '.' || place.back() == '/' || prefix[place.size()] == '.' ||
           prefix[place.size()] == '/'));
}

// The variables that callers may give, each of the kind that it needs.
void check_variables(const Form& form, const Json& variables) {
  const schema::Names known{"num_heads", "epsilon", "dropout_rate"};
  for (const auto& [name, value] : variables.as_object()) {
    if (std::find(known.begin(), known.end(), name) == known.end())
      form.refuse("there is no variable '" + name + "'; known are " + schema::name_list(known),
                  schema::did_you_mean(name, known));
    if (name != "num_heads" && !value.is_number())
      form.refuse(name + " must be a number, got " + value.brief());
  }
}

// What only the parts tell: biases and norms.
void describe_parts(const Form& form, Parts& parts) {
  Json& v = parts.variables;
  const auto has = [&](const std::string& part) { return parts.arrays.contains(part); };
  v.set("use_bias", std::any_of(parts.arrays.begin(), parts.arrays.end(),
                                [](const auto& p) { return p.first.ends_with("/bias"); }));
  v.set("qk_norm_type", nullptr);
  v.set("qk_norm_kwargs", nullptr);
  for (const auto& [part, norm] : {std::pair{"gamma", "layer_norm"}, {"scale", "rms_norm"}}) {
    const bool query = has(std::string("query_norm/") + part);
    if (query != has(std::string("key_norm/") + part))
      form.refuse(std::string("there is a norm of ") + (query ? "queries" : "keys") + " alone",
                  "the types here normalise both or none");
    if (!query) continue;
    if (!v.contains("epsilon"))
      form.refuse("the tensors do not say the epsilon of the norms", "give epsilon");
    v.set("qk_norm_type", norm);
    v.set("qk_norm_kwargs", Json{{"epsilon", v.at("epsilon")}});
  }
  if (v.contains("epsilon") && v.at("qk_norm_type").is_null())
    form.refuse("there is no norm of queries and keys that epsilon could belong to");
  if (!v.contains("dropout_rate")) v.set("dropout_rate", 0.0);
}

const std::string* variable_of(const Json& value, std::string& name) {
  if (!value.is_string()) return nullptr;
  const std::string& text = value.as_string();
  if (text.size() < 3 || text.front() != '{') return nullptr;
  name = text.substr(1, text.size() - 2);
  return &name;
}

Json substituted(const Json& value, const Json& variables) {
  std::string name;
  return variable_of(value, name) ? variables.at(name) : value;
}

// The first type of the form that the module fits, or the one asked for.
std::string choose_type(const Form& form, const Json& variables, const std::string& wanted) {
  std::string first;
  schema::Names others;
  const auto fits = [&](const std::string& type) {
    const std::string why = Form::of_type(type).unequal(variables, form);
    if (why.empty()) return true;
    if (first.empty()) first = why + " for type '" + type + "'";
    return false;
  };
  if (!wanted.empty()) {
    if (fits(wanted)) return wanted;
  } else {
    for (const Json& type : form.table().at("types").as_list())
      if (fits(type.as_string())) return type.as_string();
  }
  // In the words of the module's library.
  const std::string own = wanted.empty() ? form.unequal(variables, form) : "";
  for (const auto& [type, table] : conversion::type_forms().as_object())
    if (Form::of_type(type).unequal(variables, form).empty()) others.push_back(type);
  form.refuse(own.empty() ? first : own,
              others.empty() ? "no type here has such sizes"
                             : "ask for a type that takes them: " + schema::name_list(others));
}

std::vector<std::optional<Shape>> build_shapes(const Form& type, const Json& variables) {
  std::vector<std::optional<Shape>> out;
  for (const Json& input : type.table().at("inputs").as_list()) {
    std::vector<int64_t> shape;
    for (const Json& extent : input.as_list())
      shape.push_back(substituted(extent, variables).to_int64().value());
    out.emplace_back(shape);
  }
  return out;
}

conversion::Shapes stored_weights(const Attention& layer) {
  conversion::Shapes out;
  for (const WeightInfo& w : layer.weights())
    if (!w.not_stored) out.emplace(w.name, w.shape.to_vector());
  return out;
}

// Whether a parameter changes no result of a call without training.
bool is_free(const std::string& key, const Form& type) {
  if (key == "name" || key.ends_with("_initializer") || key.ends_with("_regularizer")) return true;
  const Json* list = type.table().find("free");
  if (!list) return false;
  const Json::List& free = list->as_list();
  return std::find(free.begin(), free.end(), Json(key)) != free.end();
}

// The variables that a layer's config tells. `form` is told of what it cannot express.
Json variables_of(const Attention& layer, const Form& type, const Form& form) {
  Json out = Json::object();
  const Json config = layer.config();
  const Json requirements = get_attention_requirements(layer.type().id);
  for (const auto& [key, value] : config.as_object()) {
    const Json* wanted = type.table().at("config").find(key);
    std::string variable;
    if (wanted && variable_of(*wanted, variable)) {
      out.set(variable, value);
      continue;
    }
    if (!wanted) wanted = requirements.at("optional_params").find(key);
    if (is_free(key, type) || (wanted && *wanted == value)) continue;
    form.refuse("the layer's '" + key + "' is " + value.brief() + ", and such a module computes " +
                    (wanted ? wanted->brief() : "nothing like it"),
                {}, key);
  }
  const Json norm = out.contains("qk_norm_type") ? out.at("qk_norm_type") : Json();
  if (!norm.is_null() && norm != Json("layer_norm") && norm != Json("rms_norm"))
    form.refuse("the layer's 'qk_norm_type' is " + norm.brief() +
                    "; expected null, \"layer_norm\" or "
                    "\"rms_norm\"",
                {}, "qk_norm_type");
  if (const Json* kwargs = out.find("qk_norm_kwargs"); kwargs && kwargs->is_object())
    for (const auto& [key, value] : kwargs->as_object())
      if (key != "epsilon")
        form.refuse("the layer's 'qk_norm_kwargs' has '" + key + "', which such a module lacks", {},
                    key);
  return out;
}

}  // namespace

Parts conversion::parts_of(const Attention& layer, const Form& type, const Form& form) {
  const TensorSet weights{
      .name = layer.name(), .shapes = stored_weights(layer), .read = [&](const std::string& name) {
        return Array::copy_of(layer.weight(name));
      }};
  return type.read(weights, "", variables_of(layer, type, form), nullptr);
}

TensorSet tensor_set(const SafetensorsFile& file, const std::string& name) {
  TensorSet out{.name = name};
  for (const SafetensorsEntry& e : file.entries()) out.shapes.emplace(e.name, e.shape);
  out.read = [&file](const std::string& tensor) { return file.read(tensor); };
  return out;
}

TensorSet tensor_set(const std::map<std::string, ConstView>& tensors, const std::string& name) {
  TensorSet out{.name = name};
  for (const auto& [tensor, view] : tensors) out.shapes.emplace(tensor, view.shape.to_vector());
  out.read = [&tensors](const std::string& tensor) { return Array::copy_of(tensors.at(tensor)); };
  return out;
}

std::vector<FoundAttention> find_attention(const TensorSet& source) {
  std::vector<FoundAttention> out;
  for (const auto& [name, table] : attention_forms().as_object())
    for (const std::string& prefix : Form::named(name).prefixes(source.shapes))
      out.push_back({name, prefix});
  std::stable_sort(out.begin(), out.end(), [](const FoundAttention& a, const FoundAttention& b) {
    return a.prefix < b.prefix;
  });
  return out;
}

FoundAttention choose_attention(const TensorSet& source, const ConvertOptions& options) {
  std::vector<FoundAttention> all = find_attention(source), meant;
  for (const FoundAttention& f : all)
    if ((options.form.empty() || f.form == options.form) && lies_in(f.prefix, options.prefix))
      meant.push_back(f);
  if (meant.size() == 1) {
    const Form form = Form::named(meant.front().form);
    const Json* why = options.form.empty() ? form.table().find("ask") : nullptr;
    if (why)
      form.refuse(why->as_string(), "if this one does not, ask for form '" + form.name() + "'");
    return meant.front();
  }
  const bool none = meant.empty();
  if (none) meant = all;
  schema::Names names;
  bool one_place = true;
  for (const FoundAttention& f : meant) {
    one_place = one_place && f.prefix == meant.front().prefix;
    if (names.size() < kShown)
      names.push_back(f.prefix.empty() ? f.form
                                       : without_separator(f.prefix) + " (" + f.form + ")");
  }
  std::string list = schema::name_list(names);
  if (meant.size() > names.size())
    list += " and " + std::to_string(meant.size() - names.size()) + " more";
  if (!none && one_place)
    throw conversion::refusal(source.name + ": the tensors may be those of several forms: " + list,
                              {.where = source.name, .hint = "choose one by form"});
  const std::string where = options.prefix.empty() ? "" : " in '" + options.prefix + "'";
  if (!none)
    throw conversion::refusal(source.name + ": there are " + std::to_string(meant.size()) +
                                  " attention modules" + where + ": " + list,
                              {.where = source.name, .hint = "choose one by its prefix"});
  const std::string kind = options.form.empty() ? "of a known form"
                                                : "of the form '" + options.form + "' (" +
                                                      Form::named(options.form).title() + ")";
  throw conversion::refusal(
      source.name + ": there is no attention " + kind + where,
      {.where = source.name,
       .hint = meant.empty()
                   ? "give tensors of a form that host/docs/convert.md lists, or a mapping"
                   : "there are " + list});
}

ConvertedAttention convert_attention(const TensorSet& source, const ConvertOptions& options) {
  ConvertedAttention out;
  out.found = choose_attention(source, options);
  const Form form = Form::named(out.found.form);
  check_variables(form, options.variables);
  Parts parts = form.read(source, out.found.prefix, options.variables, &out.left_out);
  describe_parts(form, parts);
  const Form type = Form::of_type(choose_type(form, parts.variables, options.type));
  Json config = Json::object();
  for (const auto& [key, value] : type.table().at("config").as_object())
    config.set(key, substituted(value, parts.variables));
  const bool wide = std::all_of(parts.arrays.begin(), parts.arrays.end(),
                                [](const auto& p) { return p.second.dtype() == ATTN_F64; });
  out.layer = host::construct(type.name(), config, nullptr);
  out.layer->build(build_shapes(type, parts.variables),
                   {.dtype = wide ? ATTN_F64 : ATTN_F32, .seed = 0});
  const conversion::Shapes wanted = stored_weights(*out.layer);
  for (const auto& [name, value] : type.write(parts, &wanted)) out.layer->set_weight(name, value);
  for (const std::string& name : out.left_out)
    log(LogLevel::info, source.name + ": '" + name + "' is not attention and is left out");
  return out;
}

std::map<std::string, Array> convert_back(const Attention& layer, const std::string& form_name,
                                          const std::optional<conversion::Shapes>& target) {
  const Form form = Form::named(form_name);
  const Parts parts = conversion::parts_of(layer, Form::of_type(layer.type().id), form);
  if (const std::string why = form.unequal(parts.variables, form); !why.empty()) form.refuse(why);
  return form.write(parts, target ? &*target : nullptr);
}

}  // namespace attn
