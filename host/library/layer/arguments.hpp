// SPDX-License-Identifier: Apache-2.0
//
// Call arguments against the schema of a type: the same kinds, ranges and texts as parameters of configs, without
// allocating when all is well. [any-thread]
#pragma once

#include <attn/attention.hpp>

#include <span>

#include "core/engine/limits.hpp"

namespace attn::host {

struct CheckedArguments {
  // One for each argument of the type, defaults filled in.
  attn_value values[engine::kMaxArguments];
  // Memory of those given as one integer where a pair is meant.
  int64_t pairs[engine::kMaxArguments][2];
  bool training = false;  // given as an argument
  bool has_training = false;
  uint64_t outputs_wanted = 0;  // optional outputs that the arguments switch on
};

// Throws InvalidArgument: unknown name (with the accepted ones), set more than once, required and missing, wrong kind, out of
// range. `training` is an argument of every type.
void check_arguments(const attn_type& type, const std::string& layer,
                     std::span<const Argument> given, CheckedArguments& out);

// An argument read from JSON (a file, a command line). lists: memory of its list, which must outlive the Argument.
[[nodiscard]] Argument argument_from_json(std::string_view name, const Json& value,
                                          std::vector<std::vector<int64_t>>& lists);

}  // namespace attn::host
