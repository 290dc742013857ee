// SPDX-License-Identifier: Apache-2.0
//
// Score programs of a layer: the parameters that hold texts and what they capture. A capture is a number, which is a
// constant of the language; a list, whose numbers stay as they are; or an object, a weight:
//
//   "captures": {"W": 14, "bucket": [0, 1, 2, 2], "slope": {"shape": ["H"], "initializer": "zeros"},
//                "decay": {"values": [0.5, 0.25], "trainable": false}}
//
// or an object without numbers, a table that each call brings as an input of that name:
//
//   "captures": {"doc": {"shape": ["B", "K"], "dtype": "i32", "input": true}}
//
// host/docs/score-programs.md has the language. Throws InvalidArgument. [any-thread]
#pragma once

#include <optional>
#include <string_view>

#include "core/program/extents.hpp"
#include "core/program/text.hpp"
#include "core/schema/families/family.hpp"

namespace attn::schema {

// A parameter that holds a text: `of` begins with the kind, and the variables that its layers can tell follow, as in
// "mask_rule h q k H".
struct ProgramParam {
  program::Kind kind = program::Kind::score;
  std::string_view variables{};
};
// Nothing of another parameter. Inline for the helper that tries plugins, which has no language.
[[nodiscard]] inline std::optional<ProgramParam> program_param(const attn_param& p) {
  if (p.kind != ATTN_PARAM_TEXT || p.of == nullptr) return {};
  const std::string_view of = p.of, score = "score ", rule = "mask_rule ";
  if (of.starts_with(score)) return ProgramParam{program::Kind::score, of.substr(score.size())};
  if (of.starts_with(rule)) return ProgramParam{program::Kind::mask_rule, of.substr(rule.size())};
  return {};
}
[[nodiscard]] inline bool is_program(const attn_param& p) { return program_param(p).has_value(); }

// A parameter that holds what the texts capture.
inline constexpr const char* kCaptures = "captures";
[[nodiscard]] inline bool is_captures(const attn_param& p) {
  return p.kind == ATTN_PARAM_OPTIONS && p.of != nullptr && std::string_view(p.of) == kCaptures;
}

struct Captures {
  struct Table {
    std::string name{};
    program::Extents shape{};  // of weights with no other letter than H, the number of heads
    bool whole = false, trainable = false;
    std::vector<double> values{};  // empty: initializer
    InitializerSpec initializer{};
    bool alibi = false;  // its values are the slopes of ALiBi
    bool input = false;  // each call brings it: no weight
    // The axis of the batch, or the rank. Texts index it by b and nothing else, so that rows stay independent.
    [[nodiscard]] std::size_t batch_axis() const;
    // "whole numbers (B, K)".
    [[nodiscard]] std::string text() const;
  };
  std::vector<program::Name> names{};  // tables in their order, and constants
  std::vector<Table> tables{};
};
[[nodiscard]] Captures resolve_captures(const Json& given);

// Compiles a text.
void check_program(const ProgramParam& param, std::string_view text, const Captures& captures);
// Refuses tables of a call with extents that layers of the type cannot tell, and with names that mean something else in
// its calls.
void check_tables(const attn_type& type, const Captures& captures);

// Refuses a capture that none of the texts reads, `texts`: the parameters that hold them.
[[noreturn]] void refuse_unread(const std::string& capture, const Json& captures,
                                const Names& texts);

// The tables that a call brings, in their order. value: of the type's parameter for captures, or null.
[[nodiscard]] std::vector<Captures::Table> tables_of_calls(const Json& value);
// The same, of a config.
[[nodiscard]] std::vector<Captures::Table> tables_of_calls(const attn_type& type,
                                                           const Json& config);

// Attributes `names` and `constants` of the operator attention, and its tables; those of calls by name.
[[nodiscard]] Component captures_component(const Captures& captures, std::int64_t heads);

}  // namespace attn::schema
