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

// The index of the input of that name; n_inputs: none has it.
inline uint32_t find_input(const attn_type& type, std::string_view name) {
  uint32_t i = 0;
  while (i < type.n_inputs && !is_called(*type.inputs[i], name)) ++i;
  return i;
}

// Every accepted name, in the order of the inputs, each with its aliases behind it.
inline std::vector<std::string> input_names(const attn_type& type) {
  std::vector<std::string> names;
  for (uint32_t i = 0; i < type.n_inputs; ++i) {
    names.emplace_back(type.inputs[i]->name);
    for (const char* alias : aliases(*type.inputs[i])) names.emplace_back(alias);
  }
  return names;
}

// "(batch, seq, dim)", or several joined by "or"; "": any.
[[nodiscard]] inline std::string shapes_text(const attn_input& in) {
  std::string text;
  for (uint32_t i = 0; i < in.n_shapes; ++i)
    text += (text.empty() ? "(" : " or (") + std::string(in.shapes[i]) + ")";
  return text;
}

// The kinds of elements that an input takes.
[[nodiscard]] inline std::string kinds_text(const attn_input& in) {
  if (in.dtypes == 0) return "floating";
  std::string text;
  for (int32_t d = ATTN_F32; d <= ATTN_BOOL; ++d)
    if (in.dtypes >> d & 1u)
      text += (text.empty() ? "" : " or ") + std::string(dtype_name(static_cast<attn_dtype>(d)));
  return text;
}

}  // namespace attn::schema
