// SPDX-License-Identifier: Apache-2.0
//
// What the schema of a case's type, and the case itself, say about its positions.
#include <attn/factory.hpp>

#include <set>

#include "core/schema/families/program.hpp"
#include "host/check/generator/axis_names.hpp"
#include "host/check/generator/generator.hpp"

namespace attn::check {
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

bool takes_numbers(const attn_input& in) {
  return in.dtypes == 0 || (in.dtypes & (1u << ATTN_F32 | 1u << ATTN_F64)) != 0;
}

bool is_drawn(const attn_type& type, const attn_input& in) {
  return takes_numbers(in) || !(type.flags & ATTN_TYPE_STATEFUL);
}

std::vector<Positions> positions_of(const Case& c) {
  std::vector<Positions> out;
  const attn_type& type = *find_attention_type(c.id.type).type;
  for (uint32_t i = 0; i < type.n_inputs; ++i) {
    const attn_input& in = *type.inputs[i];
    const auto given = c.problem.inputs.find(in.name);
    if (given == c.problem.inputs.end() || is_mask(c, in.name)) continue;
    std::string axes;
    for (uint32_t s = 0; s < in.n_shapes; ++s) {
      const std::vector<std::string> names = axis_names(in.shapes[s]);
      if (static_cast<int>(names.size()) != given->second.rank()) continue;
      axes.clear();
      for (size_t a = 1; a + 1 < names.size(); ++a) axes += (a > 1 ? ", " : "") + names[a];
      break;
    }
    auto at =
        std::find_if(out.begin(), out.end(), [&](const Positions& p) { return p.name == axes; });
    if (at == out.end()) {
      const Tensor& t = given->second;
      at = out.insert(at, {axes, {}, t.size() / (t.dim(0) * t.dim(-1))});
    }
    at->inputs.emplace_back(in.name);
  }
  return out;
}

std::vector<std::string> second_sequence(const Case& c) {
  std::vector<std::string> out;
  const attn_type& type = *find_attention_type(c.id.type).type;
  for (uint32_t i = 0; i < type.n_inputs; ++i) {
    const attn_input& in = *type.inputs[i];
    if (is_mask(c, in.name) || !c.problem.inputs.contains(in.name)) continue;
    const std::vector<std::string> axes = axis_names(in.shapes[0]);
    if (std::find(axes.begin(), axes.end(), "key") != axes.end()) out.emplace_back(in.name);
  }
  return out;
}

bool is_mask(const Case& c, const std::string& name) {
  const attn_type& type = *find_attention_type(c.id.type).type;
  for (uint32_t i = 0; i < type.n_inputs; ++i)
    if (name == type.inputs[i]->name)
      return type.inputs[i]->flags & ATTN_INPUT_MASK || !takes_numbers(*type.inputs[i]);
  return c.problem.tables.contains(name);
}

std::map<std::string, Tensor> tables_of(const Case& c, const std::vector<int64_t>& order) {
  std::map<std::string, Tensor> out = c.problem.tables;
  const attn_type& type = *find_attention_type(c.id.type).type;
  for (const schema::Captures::Table& table : schema::tables_of_calls(type, c.problem.config))
    if (table.batch_axis() == 0 && !table.shape.empty())
      out[table.name] = rows(out.at(table.name), order);
  return out;
}

bool is_causal(const Case& c) {
  const attn_type& type = *find_attention_type(c.id.type).type;
  const auto is_true = [](const Json* j) { return j && j->is_bool() && j->as_bool(); };
  for (uint32_t i = 0; i < type.n_params; ++i) {
    const Json value = parameter(c, type.params[i]->name);
    if (type.params[i]->flags & ATTN_PARAM_CAUSAL && is_true(&value)) return true;
  }
  for (uint32_t i = 0; i < type.n_args; ++i) {
    const attn_param& a = *type.args[i];
    if (!(a.flags & ATTN_PARAM_CAUSAL)) continue;
    const Json* given = c.problem.arguments.find(a.name);
    if (given ? is_true(given) : a.def.kind == ATTN_VALUE_BOOL && a.def.u.i != 0) return true;
  }
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
  return has_other_axis(c);
}

bool has_program(const Case& c) {
  const attn_type& type = *find_attention_type(c.id.type).type;
  for (uint32_t i = 0; i < type.n_params; ++i)
    if (schema::is_program(*type.params[i]) && !parameter(c, type.params[i]->name).is_null())
      return true;
  return false;
}

bool has_other_axis(const Case& c) {
  const std::set<int64_t> axes = norm_axes(c);
  return !axes.empty() && axes != std::set<int64_t>{-1};
}

std::vector<size_t> probability_axes(const Case& c) {
  // A type that sets the axis of its probabilities itself marks that option so.
  const attn_type& type = *find_attention_type(c.id.type).type;
  for (uint32_t i = 0; i < type.n_params; ++i)
    for (uint32_t o = 0; o < type.params[i]->n_choices; ++o)
      if (std::string(type.params[i]->choices[o]) == "!axis") return {3};
  const Json config = parameter(c, "probability_config");
  const Json* axis = config.is_object() ? config.find("axis") : nullptr;
  if (!axis || axis->is_null()) return {3};
  std::vector<size_t> out;
  const auto add = [&](const Json& j) {
    const int64_t a = *j.to_int64();
    out.push_back(static_cast<size_t>(a < 0 ? a + 4 : a));
  };
  if (!axis->is_list()) add(*axis);
  for (size_t i = 0; axis->is_list() && i < axis->size(); ++i) add(axis->at(i));
  return out;
}

bool over_keys(const Case& c) { return probability_axes(c) == std::vector<size_t>{3}; }

bool adds_numbers(const attn_input& mask) {
  if (!(mask.flags & ATTN_INPUT_NUMBERS)) return false;
  for (uint32_t s = 0; s < mask.n_shapes; ++s)
    for (const std::string& axis : axis_names(mask.shapes[s]))
      if (axis == "key") return true;
  return false;
}

}  // namespace attn::check
