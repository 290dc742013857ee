// SPDX-License-Identifier: Apache-2.0
//
// What the schema of a case's type, and the case itself, say about its positions.
#include <attn/factory.hpp>

#include <set>

#include "tests/properties/checks.hpp"

namespace attn::properties {
namespace {

// Axes of norms and activations, as they are written.
std::set<int64_t> norm_axes(const Case& c) {
  std::set<int64_t> out;
  const attn_type& type = *find_attention_type(c.id.type).type;
  for (uint32_t i = 0; i < type.n_params; ++i) {
    const attn_param& p = *type.params[i];
    if (p.kind != ATTN_PARAM_OPTIONS || std::string(p.name) == "probability_config") continue;
    const Json options = parameter(c, p.name);
    const Json* axis = options.is_object() ? options.find("axis") : nullptr;
    if (!axis) continue;
    if (axis->is_integer()) out.insert(*axis->to_int64());
    if (axis->is_list())
      for (const Json& j : axis->as_list()) out.insert(*j.to_int64());
  }
  return out;
}

}  // namespace

const attn_input* declared_mask(const Case& c) {
  const attn_type& type = *find_attention_type(c.id.type).type;
  for (uint32_t i = 0; i < type.n_inputs; ++i)
    if (type.inputs[i]->flags & ATTN_INPUT_MASK && c.problem.inputs.contains(type.inputs[i]->name))
      return type.inputs[i];
  return nullptr;
}

bool is_causal(const Case& c) {
  const attn_type& type = *find_attention_type(c.id.type).type;
  const auto is_true = [](const Json* j) { return j && j->is_bool() && j->as_bool(); };
  for (uint32_t i = 0; i < type.n_params; ++i) {
    const Json value = parameter(c, type.params[i]->name);
    if (type.params[i]->flags & ATTN_PARAM_CAUSAL && is_true(&value)) return true;
  }
  for (uint32_t i = 0; i < type.n_args; ++i)
    if (type.args[i]->flags & ATTN_PARAM_CAUSAL &&
        is_true(c.problem.arguments.find(type.args[i]->name)))
      return true;
  return false;
}

bool takes_statistics(const Case& c) {
  const attn_type& type = *find_attention_type(c.id.type).type;
  for (uint32_t i = 0; i < type.n_params; ++i) {
    const Json name = parameter(c, type.params[i]->name);
    if (type.params[i]->kind == ATTN_PARAM_NORM && name.is_string() &&
        name.as_string().find("batch") != std::string::npos)
      return true;
  }
  return false;
}

bool mixes_positions(const Case& c) {
  const attn_type& type = *find_attention_type(c.id.type).type;
  for (uint32_t i = 0; i < type.n_params; ++i) {
    const attn_param& p = *type.params[i];
    if (p.kind != ATTN_PARAM_NORM) continue;
    const Json name = parameter(c, p.name);
    if (name.is_string() && (name.as_string() == "global_response_norm" ||
                             name.as_string().find("adaptive_band") != std::string::npos))
      return true;
  }
  const std::set<int64_t> axes = norm_axes(c);
  return !axes.empty() && axes != std::set<int64_t>{-1};
}

}  // namespace attn::properties
