// SPDX-License-Identifier: Apache-2.0
//
// Places in a JSON text. Nothing is kept while parsing; a place is looked for again when a message needs it.
// [any-thread]
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "attn/config.hpp"

namespace attn::config {

// Line and column of a byte. Columns count characters; a carriage return is part of its line's end.
[[nodiscard]] Position position_of(std::string_view text, std::size_t offset);

struct Place {
  std::size_t key = 0;  // where the key begins; for elements of a list, where the value begins
  std::size_t value = 0;
};

// Where the value at a JSON pointer begins. text must be a JSON text that has been parsed without an error.
[[nodiscard]] std::optional<Place> find_place(std::string_view text, std::string_view pointer);

// "/" + key with ~ and / escaped as in JSON pointers (RFC 6901).
[[nodiscard]] std::string pointer_step(std::string_view key);

}  // namespace attn::config
