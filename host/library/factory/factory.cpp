// SPDX-License-Identifier: Apache-2.0
#include <attn/factory.hpp>
#include <attn/log.hpp>

#include "core/schema/describe.hpp"
#include "core/schema/layer_name.hpp"
#include "core/schema/validate.hpp"
#include "host/library/factory/construct.hpp"
#include "host/library/layer/layer.hpp"
#include "host/library/loader/registry.hpp"

namespace attn {

namespace {

loader::Registry& registry() { return loader::process_registry(); }

const Json& checked_parameters(const Json& parameters) {
  if (!parameters.is_object())
    throw InvalidArgument("Parameters must be an object",
                          {.value = parameters.brief(), .expected = "{name: value, ...}"});
  return parameters;
}

std::unique_ptr<Attention> make(const loader::RegisteredType& t,
                                const schema::ValidatedConfig& config, const Json& name) {
  std::string layer_name = schema::layer_name(name, t.type->class_name);
  Json effective = schema::serialized(*t.type, config.effective);
  effective.set("name", layer_name);
  return std::make_unique<host::PluginLayer>(
      host::TypeSource{t.type, t.library->path(), t.library->table().version, t.library->hold()},
      config.values.data(), std::move(effective), std::move(layer_name));
}

}  // namespace

std::unique_ptr<Attention> host::construct(std::string_view type, const Json& parameters,
                                           const Json& name) {
  const loader::RegisteredType t = registry().type(type);
  return make(t, schema::validate(*t.type, checked_parameters(parameters), name), name);
}

std::unique_ptr<Attention> create_attention_layer(std::string_view type, const Json& parameters,
                                                  const Json& name) {
  const attn_type* known = nullptr;
  try {
    const loader::RegisteredType t = registry().type(type);
    known = t.type;
    const schema::ValidatedConfig config =
        schema::validate(*t.type, checked_parameters(parameters), name);
    log(LogLevel::info, schema::creating_line(*t.type, config.effective, name));
    return make(t, config, name);
  } catch (const std::exception& e) {
    log(LogLevel::error, schema::failed_line(known, type, parameters, e.what()));
    throw;
  }
}

std::unique_ptr<Attention> create_attention_from_config(const Json& config) {
  const schema::SplitConfig parts = schema::split_config(config);
  return create_attention_layer(parts.type, parts.parameters, parts.name);
}

void validate_attention_config(std::string_view type, const Json& parameters) {
  const loader::RegisteredType t = registry().type(type);
  (void)schema::validate(*t.type, checked_parameters(parameters));
}

Json get_attention_info() {
  Json all = Json::object();
  for (const loader::RegisteredType& t : registry().types())
    all.set(t.type->id, schema::info_entry(*t.type));
  return all;
}

Json get_attention_requirements(std::string_view type) {
  return schema::info_entry(*registry().type(type).type);
}

std::vector<std::string> list_attention_types() {
  std::vector<std::string> names;
  for (const loader::RegisteredType& t : registry().types()) names.emplace_back(t.type->id);
  return names;
}

TypeEntry find_attention_type(std::string_view type) {
  const loader::RegisteredType t = registry().type(type);
  return {t.type, t.library->path(), t.library->table().version};
}

}  // namespace attn
