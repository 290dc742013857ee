// SPDX-License-Identifier: Apache-2.0
//
// Extents of tables that each call brings: numbers, and letters for extents of the call. Plain. [any-thread]
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/program/node.hpp"

namespace attn::program {

// Numbers from 0 on, and letter_extent() of a place in kExtents.
using Extents = std::vector<int64_t>;
inline constexpr std::string_view kExtents = "BHQK";
constexpr int64_t letter_extent(size_t place) { return -1 - static_cast<int64_t>(place); }
constexpr size_t place_of(int64_t letter) { return static_cast<size_t>(-1 - letter); }

// "(B, K)".
[[nodiscard]] std::string extents_text(const Extents& extents);

// The same as operators have it, behind the name of a tensor, "doc:B:K" or "x:" of a number.
[[nodiscard]] std::string declaration(const std::string& name, const Extents& extents);
// What the names of a call, "slope,doc:B:K", declare for one of them. Allocates nothing.
struct DeclaredExtents {
  int rank = -1;  // -1: nothing
  std::array<int64_t, kMostAxes> n{};
};
[[nodiscard]] DeclaredExtents declared_extents(std::string_view names, int table);

}  // namespace attn::program
