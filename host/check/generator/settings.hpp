// SPDX-License-Identifier: Apache-2.0
//
// Every setting of a type, one at a time: a small base, and all that differs from it in one parameter, one argument
// of the call or one input. Enumerated from the registered schema: choices, switched flags, null, every norm,
// probability and activation with each of its options, other numbers, initializers, regularizers, forms of inputs.
// What the library refuses is left out, but of every parameter some other value has to be taken.
#pragma once

#include <attn/attention.hpp>

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "host/check/generator/axis_names.hpp"
#include "host/check/generator/call.hpp"
#include "host/check/generator/generator.hpp"

namespace attn::check {

enum class ChangeOf { nothing, parameter, initializer, regularizer, argument, input };

struct Change {
  ChangeOf of = ChangeOf::nothing;
  std::string name{};                                  // of the parameter, argument or input
  std::string text{};                                  // "num_heads = 4"
  std::vector<std::pair<std::string, Json>> values{};  // parameters, or arguments
  std::map<std::string, std::string> forms{};          // inputs and the shape each is given in
  attn_dtype mask_kind = ATTN_BOOL;
  bool plain =
      false;  // a flag, a number, a choice or null; no member of a family and none of its options
};

struct Setting {
  std::string type{};
  Change change{};                             // the last one
  std::string text{};                          // all of them; empty: the base
  std::map<std::string, std::string> forms{};  // inputs that are given: "batch, seq, dim"
  Case c{};

  [[nodiscard]] std::string told() const;  // type, change, config, call
};

// The base first; made once for each type.
[[nodiscard]] const std::vector<Setting>& settings(const std::string& type);
// The first other values of two plain parameters or arguments at once, all pairs.
[[nodiscard]] const std::vector<Setting>& pairs(const std::string& type);
// Other values of one parameter or argument of the base, as they stand in settings().
[[nodiscard]] std::vector<Change> changes_of(const std::string& type, const std::string& name);
// Another change on top; nothing when the library refuses it.
[[nodiscard]] std::optional<Setting> with(Setting base, const Change& change);

// What computes nothing: initial values and penalties.
[[nodiscard]] inline bool is_about_numbers(const Setting& s) {
  return s.change.of != ChangeOf::initializer && s.change.of != ChangeOf::regularizer;
}

}  // namespace attn::check
