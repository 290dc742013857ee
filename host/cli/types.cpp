// SPDX-License-Identifier: Apache-2.0
#include "host/cli/types.hpp"

#include <attn/factory.hpp>

#include <algorithm>
#include <charconv>
#include <set>

#include "core/schema/families/program.hpp"
#include "core/schema/input_names.hpp"
#include "core/schema/text.hpp"
#include "host/cli/program.hpp"
#include "host/cli/tensors.hpp"
#include "host/library/loader/schema_check.hpp"

namespace attn::cli {

namespace {

// A parameter of that name, given or by default; 0: none.
int64_t parameter(const attn_type& type, const Json& config, const std::string& name) {
  if (const Json* value = config.find(name)) return value->to_int64().value_or(0);
  for (uint32_t i = 0; i < type.n_params; ++i)
    if (name == type.params[i]->name && type.params[i]->def.kind == ATTN_VALUE_I64)
      return type.params[i]->def.u.i;
  return 0;
}

schema::Names names_of_inputs(const attn_type& type, const Json& config) {
  schema::Names names = schema::input_names(type);
  for (const schema::Captures::Table& table : schema::tables_of_calls(type, config))
    names.push_back(table.name);
  return names;
}

}  // namespace

std::vector<std::string> extents(std::string_view text) {
  std::vector<std::string> out;
  while (!text.empty()) {
    const size_t comma = std::min(text.find(','), text.size());
    std::string_view word = text.substr(0, comma);
    while (word.starts_with(' ')) word.remove_prefix(1);
    while (word.ends_with(' ')) word.remove_suffix(1);
    out.emplace_back(word);
    text.remove_prefix(std::min(comma + 1, text.size()));
  }
  return out;
}

bool type_is_loaded(const std::string& name) {
  const std::vector<std::string> names = list_attention_types();
  return std::find(names.begin(), names.end(), name) != names.end();
}

NamedShapes parse_shapes(const attn_type& type, const std::vector<std::string>& given,
                         const Json& config) {
  NamedShapes out;
  for (const std::string& text : given) {
    const NameAndText part = split_assignment("--shape", text, "INPUT=2,16,64");
    Shape shape;
    for (const std::string& word : extents(part.text)) {
      int64_t n = 0;
      const auto [end, ec] = std::from_chars(word.data(), word.data() + word.size(), n);
      if (ec != std::errc() || end != word.data() + word.size() || n < 1 ||
          shape.rank() == ATTN_MAX_RANK)
        throw InvalidArgument("--shape: '" + part.text + "' is no shape",
                              {.where = "--shape",
                               .value = part.text,
                               .expected = "up to 8 positive extents, as in inputs=2,16,64"});
      shape.push_back(n);
    }
    out.emplace_back(part.name, shape);
  }
  check_input_names(type, out, config);
  return out;
}

void check_input_names(const attn_type& type, const NamedShapes& shapes, const Json& config) {
  const schema::Names names = names_of_inputs(type, config);
  for (const auto& [name, shape] : shapes)
    if (std::find(names.begin(), names.end(), name) == names.end())
      throw InvalidArgument(std::string(type.id) + ": no input '" + name + "'; the type has " +
                                schema::name_list(names),
                            {.where = type.id,
                             .type = type.id,
                             .parameter = name,
                             .hint = schema::did_you_mean(name, names)});
}

NameAndText parse_input(const attn_type& type, const std::string& given, const Json& config) {
  const std::string form = "NAME=FILE or NAME=FILE:TENSOR, with a name of " +
                           schema::name_list(names_of_inputs(type, config));
  NameAndText part = split_assignment("--input", given, form);
  if (!loader::is_identifier(part.name.c_str()))
    throw InvalidArgument("--input: '" + given + "' must have the form " + form,
                          {.where = "--input", .value = given});
  check_input_names(type, {{part.name, {}}}, config);
  if (const uint32_t i = schema::find_input(type, part.name); i < type.n_inputs)
    part.name = type.inputs[i]->name;
  return part;
}

std::vector<NamedOutput> random_tables(const attn_type& type, const Json& config,
                                       const NamedShapes& given, attn_dtype dtype) {
  std::vector<NamedOutput> tables;
  for (const schema::Captures::Table& table : schema::tables_of_calls(type, config)) {
    const auto shape = std::find_if(given.begin(), given.end(),
                                    [&](const auto& g) { return g.first == table.name; });
    if (shape == given.end())
      throw InvalidArgument(
          "--shape: table '" + table.name + "' of the call has no shape; expected one for " +
              table.text(),
          {.where = "--shape",
           .parameter = table.name,
           .expected = table.text(),
           .hint = "add --shape " + table.name + "=" + (table.shape.size() == 1 ? "64" : "2,64")});
    tables.push_back({table.name, table.whole
                                      ? Array(ATTN_I32, shape->second)
                                      : normal_array(shape->second, 11 + tables.size(), dtype)});
  }
  return tables;
}

std::vector<std::optional<Shape>> input_shapes(const attn_type& type, const Json& config,
                                               const NamedShapes& given) {
  std::vector<std::optional<Shape>> shapes(type.n_inputs);
  for (uint32_t i = 0; i < type.n_inputs; ++i) {
    const attn_input& in = *type.inputs[i];
    for (const auto& [name, shape] : given)
      if (schema::is_called(in, name)) shapes[i] = shape;
    if (shapes[i] || (in.flags & ATTN_INPUT_OPTIONAL) || in.n_shapes == 0) continue;
    const std::vector<std::string> names = extents(in.shapes[0]);
    Shape shape;
    for (const std::string& name : names) {
      int64_t n = 16;
      if (name == "batch")
        n = 1;
      else if (const int64_t p = parameter(type, config, name); p > 0)
        n = p;
      shape.push_back(n);
    }
    shapes[i] = shape;
  }
  return shapes;
}

KeepsState keeps_state(const attn_type& type) {
  KeepsState kept{.keeps = (type.flags & ATTN_TYPE_STATEFUL) != 0};
  for (uint32_t i = 0; kept.keeps && i < type.n_params; ++i)
    if (type.params[i]->flags & ATTN_PARAM_CAUSAL)
      kept.with = std::string(type.params[i]->name) + " = true";
  return kept;
}

std::string mask_text(const attn_type& type) {
  std::set<size_t> ranks;
  for (uint32_t i = 0; i < type.n_inputs; ++i)
    if (type.inputs[i]->flags & ATTN_INPUT_MASK)
      for (uint32_t k = 0; k < type.inputs[i]->n_shapes; ++k)
        ranks.insert(extents(type.inputs[i]->shapes[k]).size());
  if (ranks.empty()) return "-";
  if (ranks.size() > 2 && *ranks.rbegin() - *ranks.begin() + 1 == ranks.size())
    return "rank " + std::to_string(*ranks.begin()) + "-" + std::to_string(*ranks.rbegin());
  std::string text;
  for (const size_t r : ranks) text += (text.empty() ? "rank " : ", ") + std::to_string(r);
  return text;
}

}  // namespace attn::cli
