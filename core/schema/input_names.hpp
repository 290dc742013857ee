// SPDX-License-Identifier: Apache-2.0
//
// The names under which the inputs of a type are given, one each and aliases, and the kinds of elements they take.
#pragma once

#include <attn/sdk/abi.h>

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/tensor/dtype.hpp"

namespace attn::schema {

inline std::span<const char* const> aliases(const attn_input& input) {
  if (!ATTN_HAS(&input, attn_input, n_aliases)) return {};
  return {input.aliases, input.n_aliases};
}

inline bool is_called(const attn_input& input, std::string_view name) {
  if (name == input.name) return true;
  for (const char* alias : aliases(input))
    if (name == alias) return true;
  return false;
}

// The inputs of a call by place: those of the type, and behind them the tables that the layer has each call bring, as
// whatever has their `name`.
struct NamedTable {
  std::string name;
};

// Of the input of that name; as many as there are: none has it.
template <class Tables = std::span<const NamedTable>>
uint32_t find_input(const attn_type& type, std::string_view name, const Tables& tables = {}) {
  uint32_t i = 0;
  while (i < type.n_inputs && !is_called(*type.inputs[i], name)) ++i;
  for (auto t = tables.begin(); i >= type.n_inputs && t != tables.end() && t->name != name; ++t)
    ++i;
  return i;
}

template <class Tables>
const char* input_name(const attn_type& type, uint32_t place, const Tables& tables) {
  return place < type.n_inputs ? type.inputs[place]->name
                               : tables[place - type.n_inputs].name.c_str();
}

// Every accepted name, in the order of the inputs, each with its aliases behind it.
template <class Tables = std::span<const NamedTable>>
std::vector<std::string> input_names(const attn_type& type, const Tables& tables = {}) {
  std::vector<std::string> names;
  for (uint32_t i = 0; i < type.n_inputs; ++i) {
    names.emplace_back(type.inputs[i]->name);
    for (const char* alias : aliases(*type.inputs[i])) names.emplace_back(alias);
  }
  for (const auto& table : tables) names.push_back(table.name);
  return names;
}

// "(batch, seq, dim)", or several joined by "or"; "": any.
[[nodiscard]] inline std::string shapes_text(const attn_input& in) {
  std::string text;
  for (uint32_t i = 0; i < in.n_shapes; ++i)
    text += (text.empty() ? "(" : " or (") + std::string(in.shapes[i]) + ")";
  return text;
}

// Whether an input takes elements of that kind: floating where it names none, masks any.
[[nodiscard]] inline bool takes(const attn_input& in, attn_dtype dtype) {
  if (in.dtypes != 0) return (in.dtypes >> dtype & 1u) != 0;
  return dtype_is_floating(dtype) || (in.flags & ATTN_INPUT_MASK) != 0;
}

// The kinds of elements that an input takes, or a table of the call, of whole numbers or not.
[[nodiscard]] inline std::string kinds_text(const attn_input& in) {
  if (in.dtypes == 0) return "floating";
  std::string text;
  for (int32_t d = ATTN_F32; d <= ATTN_BOOL; ++d)
    if (in.dtypes >> d & 1u)
      text += (text.empty() ? "" : " or ") + std::string(dtype_name(static_cast<attn_dtype>(d)));
  return text;
}
[[nodiscard]] inline const char* kinds_text(bool whole) {
  return whole ? "int32, int64, uint8 or bool" : "floating";
}

}  // namespace attn::schema
