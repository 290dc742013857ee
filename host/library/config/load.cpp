// SPDX-License-Identifier: Apache-2.0
//
// Files, sections and places.
#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "attn/config.hpp"
#include "host/library/config/open_file.hpp"
#include "host/library/config/position.hpp"

namespace attn {
namespace {

constexpr std::size_t kMaxBytes = std::size_t{16} << 20;

[[noreturn]] void throw_file(const std::string& path, const std::string& what,
                             const std::string& expected, const std::string& hint) {
  ErrorDetails details;
  details.where = path;
  details.expected = expected;
  details.hint = hint;
  throw InvalidArgument(path + ": " + what + ", expected " + expected + "; " + hint,
                        std::move(details));
}

std::string read_text(const std::string& path) {
  std::error_code ec;
  if (std::filesystem::is_directory(path, ec)) {
    throw_file(path, "is a directory", "a JSON file", "name a file in it");
  }
  const config::OpenFile file = config::open_file(path);
  if (file == nullptr) {
    throw_file(path, std::string("cannot be opened (") + std::strerror(errno) + ")",
               "a readable JSON file", "check the path");
  }
  std::string text;
  char buffer[65536];
  while (const std::size_t n = std::fread(buffer, 1, sizeof(buffer), file.get())) {
    text.append(buffer, n);
    if (text.size() > kMaxBytes) {
      throw_file(path, "is larger than 16 MiB", "a configuration", "was a weight file meant?");
    }
  }
  if (std::ferror(file.get()) != 0) {
    throw Failure(path + ": reading failed (" + std::strerror(errno) + ")");
  }
  return text;
}

std::string at(const std::string& origin, std::string_view text, std::size_t offset) {
  const Position position = config::position_of(text, offset);
  return origin + ":" + std::to_string(position.line) + ":" + std::to_string(position.column);
}

std::string keys_of(const Json& object) {
  std::string keys;
  for (const Json::Member& member : object.as_object()) {
    if (keys.size() > 200) return keys + ", ...";
    keys += (keys.empty() ? "" : ", ") + json_quoted(member.first);
  }
  return keys.empty() ? "no key at all" : keys;
}

}  // namespace

LoadedConfig::LoadedConfig(std::string text, std::string origin, std::string_view section)
    : text_(std::move(text)), origin_(std::move(origin)) {
  if (text_.size() > kMaxBytes) {
    throw_file(origin_, "is larger than 16 MiB", "a configuration", "was a weight file meant?");
  }
  value_ = parse_config(text_, origin_);
  const bool implied = section.empty() && value_.is_object() && !value_.contains("type") &&
                       value_.contains("attention");
  const std::string_view path = implied ? "attention" : section;
  for (std::size_t from = 0, to = 0; !path.empty() && from <= path.size(); from = to + 1) {
    to = std::min(path.find('.', from), path.size());
    const std::string key(path.substr(from, to - from));
    const Json* inner = value_.find(key);
    if (inner == nullptr) {
      ErrorDetails details;
      details.where = where("");
      details.parameter = std::string(section);
      details.expected = value_.is_object() ? "one of its keys: " + keys_of(value_) : "an object";
      details.hint = "check the section";
      const std::string message = details.where + ": there is no section " + json_quoted(section) +
                                  " (no key " + json_quoted(key) + "), expected " +
                                  details.expected;
      throw InvalidArgument(message, std::move(details));
    }
    Json copy = *inner;
    value_ = std::move(copy);
    section_ += config::pointer_step(key);
  }
  if (value_.is_object()) value_.erase("$schema");
}

namespace {

std::string absolute(const std::string& section, std::string_view path) {
  if (path.empty()) return section;
  return section + (path.front() == '/' ? std::string(path) : config::pointer_step(path));
}

}  // namespace

std::optional<Position> LoadedConfig::locate(std::string_view path) const {
  const auto place = config::find_place(text_, absolute(section_, path));
  if (!place) return std::nullopt;
  return config::position_of(text_, place->value);
}

std::optional<Position> LoadedConfig::locate_key(std::string_view path) const {
  const auto place = config::find_place(text_, absolute(section_, path));
  if (!place) return std::nullopt;
  return config::position_of(text_, place->key);
}

std::string LoadedConfig::where(std::string_view path) const {
  std::string pointer = absolute(section_, path);
  auto place = config::find_place(text_, pointer);
  while (!place && pointer.size() > section_.size()) {
    pointer.resize(pointer.rfind('/'));
    place = config::find_place(text_, pointer);
  }
  return at(origin_, text_, place ? place->value : 0);
}

InvalidArgument LoadedConfig::located(const InvalidArgument& error) const {
  ErrorDetails details = error.details();
  // "probability_config.slope" is an option inside a parameter, unless a key is really called so.
  std::string path = absolute("", details.parameter);
  if (!value_.contains(details.parameter)) std::replace(path.begin(), path.end(), '.', '/');
  // A parameter that should not be there at all is shown by its key, a wrong value by the value.
  const std::optional<Position> key = details.value.empty() ? locate_key(path) : std::nullopt;
  details.where =
      key ? origin_ + ":" + std::to_string(key->line) + ":" + std::to_string(key->column)
          : where(path);
  return InvalidArgument(error.what(), std::move(details));
}

LoadedConfig load_config(const std::string& path, std::string_view section) {
  return LoadedConfig(read_text(path), path, section);
}

}  // namespace attn
