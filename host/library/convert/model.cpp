// SPDX-License-Identifier: Apache-2.0
//
// One attention layer out of a published model.
#include <attn/convert.hpp>
#include <attn/error.hpp>
#include <attn/factory.hpp>

#include <map>

#include "core/schema/text.hpp"
#include "host/library/convert/family.hpp"
#include "host/library/convert/form.hpp"
#include "host/library/convert/mapping.hpp"
#include "host/library/layer/construct.hpp"

namespace attn {

using conversion::Family;
using conversion::ModelConfig;

namespace {

void add_texts(std::map<std::string, std::string>& out, const Json& object) {
  for (const auto& [name, value] : object.as_object()) {
    if (value.is_integer()) out[name] = value.number_text();
    if (value.is_string()) out[name] = value.as_string();
  }
}

// Buffers that the model computes by itself.
bool is_computed(const std::string& tensor) { return tensor.ends_with("rotary_emb.inv_freq"); }

// Refusals of parameters also tell which keys of config.json they come from.
std::unique_ptr<Attention> constructed(const Family& family, const ModelConfig& model,
                                       const Json& parameters) {
  try {
    return host::construct(family.table().at("type").as_string(), parameters, nullptr);
  } catch (const InvalidArgument& e) {
    const std::string& inside = e.details().parameter;  // "rope_scaling.factor"
    const std::string parameter = inside.substr(0, inside.find('.'));
    const schema::Names keys = model.keys_of(parameter);
    if (keys.empty()) throw;
    ErrorDetails details = e.details();
    details.where = family.name();
    throw InvalidArgument(family.name() + " (" + family.title() + "): " + e.what() + "; '" +
                              parameter + "' comes from " + schema::name_list(keys) +
                              " of config.json",
                          std::move(details));
  }
}

}  // namespace

std::string model_family_of(const std::string& model_type) {
  schema::Names known;
  for (const auto& [name, table] : model_families().as_object())
    for (const Json& type : table.at("model_types").as_list()) {
      if (type.as_string() == model_type) return name;
      known.push_back(type.as_string());
    }
  throw conversion::refusal("no family of models has the model_type '" + model_type +
                                "'; known are " + schema::name_list(known),
                            {.value = model_type, .hint = schema::did_you_mean(model_type, known)});
}

std::unique_ptr<Attention> convert_model_layer(const TensorSet& tensors, const Json& config,
                                               const std::string& family_name, int64_t number,
                                               attn_dtype dtype) {
  const Family family = Family::named(family_name);
  ModelConfig model(family, config, number);
  const Json parameters = model.section("config"), variables = model.section("variables");
  model.refuse_rest();
  if (!model.is_converted()) return nullptr;
  auto layer = constructed(family, model, parameters);
  std::vector<std::optional<Shape>> shapes(layer->type().n_inputs);
  shapes.front() = Shape{-1, -1, *parameters.at("dim").to_int64()};
  layer->build(shapes, {.dtype = dtype, .seed = 0});

  std::map<std::string, std::string> texts;
  add_texts(texts, layer->config());
  add_texts(texts, variables);
  conversion::Mapping mapping(family.table().at("tensors"), tensors.name, texts);
  for (const WeightInfo& w : layer->weights()) {
    if (w.not_stored) continue;
    if (!family.table().at("tensors").contains(w.name))
      family.refuse("the layer has a weight '" + w.name + "' that such a model lacks");
    layer->set_weight(w.name, mapping.make(w.name, tensors).view());
  }
  schema::Names unused;
  for (const auto& [name, shape] : tensors.shapes)
    if (!mapping.used().contains(name) && !is_computed(name)) unused.push_back(name);
  if (!unused.empty())
    family.refuse(tensors.name +
                  " has tensors that config.json does not speak of: " + schema::name_list(unused));
  return layer;
}

}  // namespace attn
