// SPDX-License-Identifier: Apache-2.0
#include <attn/claims.hpp>
#include <attn/direct_layer.hpp>
#include <attn/factory.hpp>
#include <attn/log.hpp>

#include <algorithm>

#include "core/schema/describe.hpp"
#include "core/schema/json_schema/json_schema.hpp"
#include "core/schema/layer_name.hpp"
#include "core/schema/validate.hpp"
#include "core/weights/seed.hpp"
#include "host/library/layer/construct.hpp"
#include "host/library/layer/layer.hpp"
#include "host/library/loader/registry.hpp"

namespace attn {

namespace {

loader::Registry& registry() { return loader::process_registry(); }

schema::ValidatedConfig validated(const loader::RegisteredType& t, const Json& parameters,
                                  const Json& name = nullptr) {
  if (!parameters.is_object())
    throw InvalidArgument("Parameters must be an object",
                          {.value = parameters.brief(), .expected = "{name: value, ...}"});
  return schema::validate(*t.type, parameters, name, t.path);
}

// A seed left null is drawn, in values and effective.
void draw_seeds(const attn_type& type, std::vector<attn_value>& values, Json& effective) {
  const std::vector<const attn_param*> params = schema::ordered_params(type);
  for (size_t i = 0; i < values.size(); ++i) {
    if (params[i]->kind != ATTN_PARAM_SEED || values[i].kind != ATTN_NULL) continue;
    values[i] = {ATTN_VALUE_I64, 0, {static_cast<int64_t>(weights::draw_seed())}};
    if (effective.contains(params[i]->name))
      effective.set(params[i]->name, schema::to_json(*params[i], values[i]));
  }
}

std::unique_ptr<Attention> make(const loader::RegisteredType& t,
                                const schema::ValidatedConfig& config, const Json& name) {
  std::string layer_name = schema::layer_name(name, t.type->class_name);
  std::vector<attn_value> values(config.values.data(), config.values.data() + config.values.size());
  Json effective = config.effective;
  draw_seeds(*t.type, values, effective);
  effective = schema::serialized(*t.type, effective);
  effective.set("name", layer_name);
  return std::make_unique<host::PluginLayer>(
      host::TypeSource{t.type, t.path, t.library->table().version, t.library->hold()},
      values.data(), std::move(effective), std::move(layer_name));
}

}  // namespace

std::unique_ptr<Attention> host::construct(std::string_view type, const Json& parameters,
                                           const Json& name) {
  const loader::RegisteredType t = registry().type(type);
  return make(t, validated(t, parameters, name), name);
}

DirectLayer::DirectLayer(std::string_view type, const Json& parameters, std::string_view name)
    : layer_(host::construct(type, parameters, Json(name))) {}

std::unique_ptr<Attention> create_attention_layer(std::string_view type, const Json& parameters,
                                                  const Json& name, const CreateOptions& options) {
  const attn_type* known = nullptr;
  try {
    const loader::RegisteredType t = registry().type(type);
    known = t.type;
    const schema::ValidatedConfig config = validated(t, parameters, name);
    log(LogLevel::info, schema::creating_line(*t.type, config.effective, name));
    auto layer = make(t, config, name);
    require_claims(*layer, options.require);
    return layer;
  } catch (const std::exception& e) {
    log(LogLevel::error, schema::failed_line(known, type, parameters, e.what()));
    throw;
  }
}

std::unique_ptr<Attention> create_attention_from_config(const Json& config,
                                                        const CreateOptions& options) {
  schema::SplitConfig parts = schema::split_config(config);
  parts.require.insert(parts.require.end(), options.require.begin(), options.require.end());
  return create_attention_layer(parts.type, parts.parameters, parts.name, {parts.require});
}

void validate_attention_config(std::string_view type, const Json& parameters) {
  (void)validated(registry().type(type), parameters);
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

Json config_schema(std::string_view type) {
  std::vector<schema::SchemaType> types;
  for (const loader::RegisteredType& t :
       type.empty() ? registry().types() : std::vector{registry().type(type)}) {
    schema::SchemaType& one = types.emplace_back(schema::SchemaType{.type = t.type});
    for (const ClaimInfo& c : claims_of(*t.type)) {
      if (!c.known) continue;
      one.claims.push_back(c.name);
      if (!c.subject.empty()) one.claims.push_back(c.name + "(" + c.subject + ")");
    }
    one.claims = schema::sorted(std::move(one.claims));
    one.claims.erase(std::unique(one.claims.begin(), one.claims.end()), one.claims.end());
  }
  return schema::config_schema(types);
}

std::vector<std::string> list_attention_types() {
  std::vector<std::string> names;
  for (const loader::RegisteredType& t : registry().types()) names.emplace_back(t.type->id);
  return names;
}

TypeEntry find_attention_type(std::string_view type) {
  const loader::RegisteredType t = registry().type(type);
  return {t.type, t.path, t.library->table().version};
}

}  // namespace attn
