// SPDX-License-Identifier: Apache-2.0
#include "host/cli/types.hpp"

#include <attn/factory.hpp>

#include <algorithm>
#include <charconv>
#include <set>

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

// "NAME=REST" of each text of an option, the name as the input itself has it. in_order: without a name it is of the next
// input that none before named.
std::vector<NameAndText> of_inputs(const std::string& option, const std::string& form,
                                   const attn_type& type, const std::vector<std::string>& given,
                                   const Json& config, bool in_order = false) {
  const std::vector<schema::Captures::Table> tables = schema::tables_of_calls(type, config);
  std::vector<bool> taken(type.n_inputs + tables.size());
  const auto passed = [&](uint32_t i) {  // a hint names what calls must have
    return taken[i] ||
           (!in_order && i < type.n_inputs && (type.inputs[i]->flags & ATTN_INPUT_OPTIONAL) != 0);
  };
  std::vector<NameAndText> out;
  for (const std::string& text : given) {
    const size_t equal = text.find('=');
    std::string name = text.substr(0, equal);
    const bool named = equal != std::string::npos && loader::is_identifier(name.c_str());
    uint32_t i = named ? input_place(type, name, tables) : 0;
    while (!named && i < taken.size() && passed(i)) ++i;
    const bool known = i < taken.size();
    if (known) name = schema::input_name(type, i, tables);
    if (named ? equal + 1 == text.size() : !in_order || !known)
      throw InvalidArgument(
          option + ": '" + text +
              (named || !in_order ? "' must have the form " + form + ", with a name of "
                                  : "' is one too many; expected no more than one for each of ") +
              schema::name_list(schema::input_names(type, tables)),
          {.where = option,
           .value = text,
           .hint =
               named || !known || equal == 0 ? "" : "write " + option + " " + name + "=" + text});
    taken[i] = true;
    out.push_back({name, named ? text.substr(equal + 1) : text});
  }
  return out;
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
  for (const NameAndText& part : of_inputs("--shape", "INPUT=2,16,64", type, given, config)) {
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
  return out;
}

uint32_t input_place(const attn_type& type, const std::string& name,
                     const std::vector<schema::Captures::Table>& tables) {
  const uint32_t place = schema::find_input(type, name, tables);
  if (place < type.n_inputs + tables.size()) return place;
  const schema::Names names = schema::input_names(type, tables);
  throw InvalidArgument(
      std::string(type.id) + ": no input '" + name + "'; the type has " + schema::name_list(names),
      {.where = type.id,
       .type = type.id,
       .parameter = name,
       .hint = schema::did_you_mean(name, names)});
}

std::vector<NameAndText> parse_inputs(const attn_type& type, const std::vector<std::string>& given,
                                      const Json& config, bool in_order) {
  return of_inputs("--input", "NAME=FILE or NAME=FILE:TENSOR", type, given, config, in_order);
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
