// SPDX-License-Identifier: Apache-2.0
//
// A type's schema as the program uses it, before there is a layer: its inputs, their shapes, states and masks.
#pragma once

#include <attn/attention.hpp>
#include <attn/json.hpp>

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/schema/families/program.hpp"
#include "host/cli/program.hpp"

namespace attn::cli {

[[nodiscard]] bool type_is_loaded(const std::string& name);

// The names of the extents in "batch, seq, dim".
[[nodiscard]] std::vector<std::string> extents(std::string_view text);

using NamedShapes = std::vector<std::pair<std::string, Shape>>;

// Where a config is given, its tables of the call (host/docs/score-programs.md) are inputs, too: behind those of the type.

// "NAME=2,16,64", once for each option given. Throws InvalidArgument, also for a name that the type lacks.
[[nodiscard]] NamedShapes parse_shapes(const attn_type& type, const std::vector<std::string>& given,
                                       const Json& config = Json::object());

// The place of the input of that name. Throws InvalidArgument when there is none.
[[nodiscard]] uint32_t input_place(const attn_type& type, const std::string& name,
                                   const std::vector<schema::Captures::Table>& tables);

// "NAME=FILE[:TENSOR]" of --input, for each its input's own name where that was an alias. in_order: without a name it is
// of the next input that none before gave. Throws InvalidArgument.
[[nodiscard]] std::vector<NameAndText> parse_inputs(const attn_type& type,
                                                    const std::vector<std::string>& given,
                                                    const Json& config, bool in_order = false);

// Tables of the call of these shapes, all of which must be given: zeros, or normal numbers where they are floating.
[[nodiscard]] std::vector<NamedOutput> random_tables(const attn_type& type, const Json& config,
                                                     const NamedShapes& given,
                                                     attn_dtype dtype = ATTN_F32);

// Shapes in the order of the type's inputs. Required inputs that are not given take the extents that their
// schema names: those that are parameters their value, the rest a small number.
[[nodiscard]] std::vector<std::optional<Shape>> input_shapes(const attn_type& type,
                                                             const Json& config,
                                                             const NamedShapes& given);

// Whether layers of a type keep a state between calls.
struct KeepsState {
  bool keeps = false;
  std::string with{};  // the switch that it takes, "causal = true"; empty: none
};
[[nodiscard]] KeepsState keeps_state(const attn_type& type);

// Which masks the type takes: "rank 1-4", "rank 2, 3" or "-".
[[nodiscard]] std::string mask_text(const attn_type& type);

}  // namespace attn::cli
