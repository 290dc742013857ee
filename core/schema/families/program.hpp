// SPDX-License-Identifier: Apache-2.0
//
// Score programs of a layer: the parameters that hold texts and what they capture. A capture is a number, which is a
// constant of the language; a list, whose numbers stay as they are; or an object, a weight:
//
//   "captures": {"W": 14, "bucket": [0, 1, 2, 2], "slope": {"shape": ["H"], "initializer": "zeros"},
//                "decay": {"values": [0.5, 0.25], "trainable": false}}
//
// host/docs/score-programs.md has the language. Throws InvalidArgument. [any-thread]
#pragma once

#include "core/program/text.hpp"
#include "core/schema/families/family.hpp"

namespace attn::schema {

// A parameter that holds a text: `of` begins with the kind, and the variables that its layers can tell follow, as in
// "mask_rule h q k H".
[[nodiscard]] inline bool is_program(const attn_param& p) {
  return p.kind == ATTN_PARAM_TEXT && p.of != nullptr;
}
struct ProgramParam {
  program::Kind kind = program::Kind::score;
  std::string_view variables{};
};
// Nothing where `of` says something else.
[[nodiscard]] std::optional<ProgramParam> program_param(const attn_param& p);

// A parameter that holds what the texts capture.
inline constexpr const char* kCaptures = "captures";
[[nodiscard]] inline bool is_captures(const attn_param& p) {
  return p.kind == ATTN_PARAM_OPTIONS && p.of != nullptr && std::string_view(p.of) == kCaptures;
}

struct Captures {
  struct Table {
    std::string name{};
    std::vector<std::int64_t> shape{};  // kHeads: as many as there are heads
    bool whole = false, trainable = false;
    std::vector<double> values{};  // empty: initializer
    InitializerSpec initializer{};
  };
  static constexpr std::int64_t kHeads = -1;
  std::vector<program::Name> names{};  // tables in their order, and constants
  std::vector<Table> tables{};
};
[[nodiscard]] Captures resolve_captures(const Json& given);

// Compiles a text.
void check_program(const ProgramParam& param, std::string_view text, const Captures& captures);

// Attributes `names` and `constants` of the operator attention, and its tables.
[[nodiscard]] Component captures_component(const Captures& captures, std::int64_t heads);

}  // namespace attn::schema
