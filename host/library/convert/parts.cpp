// SPDX-License-Identifier: Apache-2.0
#include "host/library/convert/parts.hpp"

#include <attn/error.hpp>

namespace attn::conversion {

namespace {
int64_t number(const Json& variables, const char* name) {
  const Json* value = variables.find(name);
  return value ? value->to_int64().value_or(0) : 0;
}
}  // namespace

void complete_variables(
    Json& v, const std::function<void(const std::string& text, const std::string& hint)>& refuse) {
  const Json* given = v.find("num_heads");
  if (!given || given->is_null())
    refuse("the tensors do not say how many heads there are", "give num_heads");
  const int64_t heads = number(v, "num_heads");
  if (heads < 1) refuse("num_heads must be a positive integer, got " + given->brief(), "");

  const auto fill = [&](const char* name, const char* from) {
    if (!v.contains(name)) v.set(name, number(v, from));
  };
  fill("query_size", "dim");
  fill("key_size", "query_size");
  fill("value_size", "key_size");
  fill("key_width", "dim");
  fill("value_width", "key_width");
  fill("output_width", "dim");
  const auto quotient = [&](const char* name, const char* size, const char* by, const char* what) {
    const int64_t n = number(v, size), d = number(v, by);
    if (n < 1 || d < 1 || n % d != 0)
      refuse(std::string(what) + ": " + std::to_string(n) + " columns are not divisible by " + by +
                 " (" + std::to_string(d) + ")",
             "check num_heads");
    v.set(name, n / d);
  };
  quotient("key_dim", "query_size", "num_heads", "queries");
  quotient("num_kv_heads", "key_size", "key_dim", "keys");
  quotient("value_dim", "value_size", "num_kv_heads", "values");
  const int64_t kv_heads = number(v, "num_kv_heads");
  if (heads % kv_heads != 0)
    refuse("num_heads (" + std::to_string(heads) + ") must be divisible by num_kv_heads (" +
               std::to_string(kv_heads) + ")",
           "check num_heads");
}

Shape part_shape(const std::string& part, const Json& v) {
  const int64_t mixed = number(v, "num_heads") * number(v, "value_dim");
  const std::string of = part.substr(0, part.find('/'));
  const bool kernel = is_kernel(part);
  if (of == "output")
    return kernel ? Shape{mixed, number(v, "output_width")} : Shape{number(v, "output_width")};
  if (of == "query_norm" || of == "key_norm") return {number(v, "key_dim")};
  const int64_t columns = number(v, (of + "_size").c_str());
  if (!kernel) return {columns};
  return {number(v, of == "query" ? "dim" : (of + "_width").c_str()), columns};
}

std::map<std::string, std::string> variable_texts(const Json& variables) {
  std::map<std::string, std::string> out;
  for (const auto& [name, value] : variables.as_object()) {
    if (value.is_integer()) out[name] = value.number_text();
    if (value.is_string()) out[name] = value.as_string();
  }
  return out;
}

std::vector<std::string> leaves(const Json& recipe) {
  if (recipe.is_string()) return {recipe.as_string()};
  std::vector<std::string> out;
  const auto add = [&](const Json& part) {
    for (std::string& name : leaves(part)) out.push_back(std::move(name));
  };
  if (const Json* from = recipe.find("from")) add(*from);
  if (const Json* list = recipe.find("concat"))
    for (const Json& part : list->as_list()) add(part);
  return out;
}

}  // namespace attn::conversion
