// SPDX-License-Identifier: Apache-2.0
//
// The parts of multi-head attention that all forms share: their shapes, and how recipes refer to them.
// form.hpp lists them. [any-thread]
#pragma once

#include <attn/json.hpp>
#include <attn/tensor.hpp>

#include <functional>
#include <map>
#include <string>
#include <vector>

namespace attn::conversion {

// Sets what follows from the variables that are known: sizes, num_kv_heads, key_dim, value_dim, use_bias stay as they
// are where they are given. `refuse` is told what does not fit, and throws.
void complete_variables(
    Json& variables,
    const std::function<void(const std::string& text, const std::string& hint)>& refuse);

// Needs complete variables.
[[nodiscard]] Shape part_shape(const std::string& part, const Json& variables);

// Numbers and texts among the variables, for recipes.
[[nodiscard]] std::map<std::string, std::string> variable_texts(const Json& variables);

// The names in a recipe, in order.
[[nodiscard]] std::vector<std::string> leaves(const Json& recipe);

[[nodiscard]] inline bool is_kernel(const std::string& part) { return part.ends_with("/kernel"); }
// Zeros of these change nothing, so that a form may lack them.
[[nodiscard]] inline bool is_additive(const std::string& part) {
  return part.ends_with("/bias") || part.ends_with("/beta");
}

}  // namespace attn::conversion
