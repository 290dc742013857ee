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

#include "tests/properties/checks.hpp"
#include "tests/properties/generator.hpp"
#include "tests/tools/axis_names.hpp"

namespace attn::sweeps {

enum class Of { nothing, parameter, initializer, regularizer, argument, input };

struct Change {
  Of of = Of::nothing;
  std::string name{};                                  // of the parameter, argument or input
  std::string text{};                                  // "num_heads = 4"
  std::vector<std::pair<std::string, Json>> values{};  // parameters, or arguments
  std::map<std::string, std::string> forms{};          // inputs and the shape each is given in
  attn_dtype mask_kind = ATTN_BOOL;
  bool plain =
      false;  // a flag, a number, a choice or null; no member of a family and none of its options
};

struct ComponentSpec {
  std::string type{};
  Change change{};                             // the last one
  std::string text{};                          // all of them; empty: the base
  std::map<std::string, std::string> forms{};  // inputs that are given: "batch, seq, dim"
  properties::Case c{};

  [[nodiscard]] std::string told() const;  // type, change, config, call
};

// The base first; made once for each type.
[[nodiscard]] const std::vector<ComponentSpec>& settings(const std::string& type);
// The first other values of two plain parameters or arguments at once, all pairs.
[[nodiscard]] const std::vector<ComponentSpec>& pairs(const std::string& type);
// Other values of one parameter or argument of the base, as they stand in settings().
[[nodiscard]] std::vector<Change> changes_of(const std::string& type, const std::string& name);
// Shapes of the inputs, for Attention::build().
[[nodiscard]] std::vector<std::optional<Shape>> shapes_of(const ComponentSpec& s);
// Another change on top; nothing when the library refuses it.
[[nodiscard]] std::optional<ComponentSpec> with(ComponentSpec base, const Change& change);

// What computes nothing: initial values and penalties.
[[nodiscard]] inline bool is_about_numbers(const ComponentSpec& s) {
  return s.change.of != Of::initializer && s.change.of != Of::regularizer;
}

// A training call drops something.
[[nodiscard]] bool drops(const properties::Case& c);

// ---- positions ----------------------------------------------------------------------------------

// Axes between the batch and the width of the inputs: "seq", "query", "key", "height, width".
struct Positions {
  std::string name{};
  std::vector<std::string> inputs{};
  int64_t count = 0;
};
// In the order of the inputs; those that share the names of their axes move together.
[[nodiscard]] std::vector<Positions> positions_of(const ComponentSpec& s);

}  // namespace attn::sweeps
