// SPDX-License-Identifier: Apache-2.0
//
// How the frequencies of rotary positions are scaled, as config.json of published models says it: an object with
// "rope_type" and that type's numbers beside it. Null: not at all. [any-thread]
#pragma once

#include <cstdint>
#include <vector>

#include "core/kinds/rotary.hpp"
#include "core/schema/families/family.hpp"

namespace attn::schema {

// The key of the object that names the member.
inline constexpr const char* kRotaryKey = "rope_type";

// Options whose object names the member by this key, beside no parameter.
[[nodiscard]] inline bool names_itself(const attn_param& p) {
  return p.kind == ATTN_PARAM_OPTIONS && p.of != nullptr && std::string_view(p.of) == kRotaryKey;
}

[[nodiscard]] const Family& rotary_scalings();

struct ResolvedRotary {
  RopeScaling kind = RopeScaling::none;
  double factor = 1, original = 0, attention = 1, fast = 0, slow = 0;
  bool truncate = true;
  std::vector<double> short_factor{}, long_factor{};
  std::vector<std::int64_t> sections{};
  RopeSections order = RopeSections::blocks;
};
[[nodiscard]] ResolvedRotary resolve_rotary(const Json& given);

// Attributes of the operator rotary_embedding (core/kinds/rotary.hpp). dims: how many components turn, or -1.
[[nodiscard]] Component rotary_component(const ResolvedRotary& resolved, std::int64_t dims);

}  // namespace attn::schema
