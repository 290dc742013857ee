// SPDX-License-Identifier: Apache-2.0
//
// Configurations from JSON text and files.
//
// JSON as in RFC 8259, in UTF-8 (a byte order mark is skipped), at most 16 MiB and 64 levels deep. Numbers
// keep their text, so integers of any size are exact. Refused, each with file:line:column: duplicate keys
// in one object, numbers beyond double (1e400), comments, trailing commas, bad UTF-8, anything after the
// value, \u0000 in a text. Lines and columns count from 1, columns in characters.
//
// Errors are InvalidArgument; what() reads "file:line:column: what is wrong, what was expected; what to do"
// and details() has the parts. [any-thread]
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "attn/json.hpp"
#include "core/error/error.hpp"

namespace attn {

// Text to value. origin: what messages call the text ("model.json").
[[nodiscard]] Json parse_config(std::string_view text, std::string_view origin = "config");

struct Position {
  std::size_t line = 0;
  std::size_t column = 0;
};

// A configuration with the line and column of each of its values.
class LoadedConfig {
 public:
  // Parses text and picks the section: keys joined by dots ("model.encoder.attention"). Without one the whole
  // text counts, or what it has under "attention" when it has no "type" of its own. "$schema" is taken out.
  LoadedConfig(std::string text, std::string origin, std::string_view section = "");

  [[nodiscard]] const Json& value() const noexcept { return value_; }
  [[nodiscard]] const std::string& origin() const noexcept { return origin_; }

  // Where a value or its key begins. path is relative to the section: the name of a parameter ("num_heads"),
  // or a JSON pointer ("/kernel_initializer/config"); "" is the section itself. None when there is no such
  // value.
  [[nodiscard]] std::optional<Position> locate(std::string_view path) const;
  [[nodiscard]] std::optional<Position> locate_key(std::string_view path) const;

  // "file:line:column" of that value, or of the nearest one around it that exists.
  [[nodiscard]] std::string where(std::string_view path) const;

  // The same error with details().where set to the place of the parameter concerned.
  [[nodiscard]] InvalidArgument located(const InvalidArgument& error) const;

 private:
  std::string text_;
  std::string origin_;
  std::string section_;  // JSON pointer
  Json value_;
};

// Reads a file. Throws for a path that cannot be opened, a directory and a file beyond the limit, too.
[[nodiscard]] LoadedConfig load_config(const std::string& path, std::string_view section = "");

}  // namespace attn
