// SPDX-License-Identifier: Apache-2.0
#include "core/schema/describe.hpp"

#include "core/schema/text.hpp"
#include "core/schema/validate.hpp"

namespace attn::schema {
namespace {

bool is_required(const attn_param& param) { return (param.flags & ATTN_PARAM_REQUIRED) != 0; }

// A pair prints as a Python tuple.
std::string printed(const attn_param& param, const Json& value) {
  if (param.kind != ATTN_PARAM_INT_OR_PAIR || !value.is_list()) return value.python_repr();
  std::string text = value.python_repr();
  text.front() = '(';
  text.back() = ')';
  return text;
}

}  // namespace

std::string creating_line(const attn_type& type, const Json& effective, const Json& name) {
  std::string text;
  const auto add = [&](const char* key, const std::string& value) {
    text += (text.empty() ? "'" : ", '") + std::string(key) + "': " + value;
  };
  bool named = !name.is_string() || name.as_string().empty();
  const auto add_name = [&] {
    if (!std::exchange(named, true)) add("name", name.python_repr());
  };
  for (const attn_param* param : ordered_params(type)) {
    if (!is_required(*param)) add_name();
    if (const Json* value = effective.find(param->name)) add(param->name, printed(*param, *value));
  }
  add_name();
  return "Creating '" + std::string(type.id) + "' layer (" + type.class_name +
         ") with parameters: {" + text + "}";
}

std::string failed_line(const attn_type* type, std::string_view type_name, const Json& parameters,
                        std::string_view error) {
  Names required, provided;
  if (type != nullptr) {
    for (const attn_param* param : ordered_params(*type)) {
      if (is_required(*param)) required.emplace_back(param->name);
    }
  }
  if (parameters.is_object()) {
    for (const Json::Member& member : parameters.as_object()) provided.push_back(member.first);
  }
  return "Failed to create '" + std::string(type_name) + "' layer (" +
         (type == nullptr ? "unknown" : type->class_name) +
         "). Required parameters: " + name_list(required) +
         ". Provided parameters: " + name_list(provided) +
         ". Please verify parameter compatibility. Original error: " + std::string(error);
}

Json info_entry(const attn_type& type) {
  Json required = Json::list({}), optional = Json::object(), aliases = Json::object();
  for (const attn_param* param : ordered_params(type)) {
    if (is_required(*param)) {
      required.push_back(param->name);
    } else if ((param->flags & ATTN_PARAM_EXTENSION) == 0) {
      optional.set(param->name, to_json(*param, param->def));
    }
    for (std::uint32_t a = 0; a < param->n_aliases && (param->flags & ATTN_PARAM_EXTENSION) == 0;
         ++a)
      aliases.set(param->aliases[a], param->name);
  }
  return {{"type", type.id},
          {"class", type.class_name},
          {"description", type.description},
          {"use_case", type.use_case},
          {"complexity", type.complexity},
          {"paper", type.paper},
          {"input_shape", type.input_shape},
          {"required_params", required},
          {"optional_params", optional},
          {"aliases", aliases}};
}

}  // namespace attn::schema
