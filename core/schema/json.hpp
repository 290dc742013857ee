// SPDX-License-Identifier: Apache-2.0
//
// Json: one value of a configuration - null, bool, number, text, list or object.
//
// It differs from the usual in three points, because configurations are compared and printed character by character:
// objects keep the order of their keys and refuse a duplicate key; a number keeps the text it was written
// with, so integers of any size are exact and "1" (integer) is not "1.0" (floating); and it can be built
// from plain C++ values:
//
//   Json config = {{"dim", 512}, {"num_heads", 8}, {"kernel_size", std::vector<int>{3, 5}}};
//
// Braces mean an object; lists are made from vectors or with Json::list({1, "a", nullptr}).
// Files and texts are read by attn/config.hpp. Copies are deep. Reading from many threads is safe, changing
// is not. Errors are InvalidArgument.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace attn {

class Json {
 public:
  using List = std::vector<Json>;
  using Member = std::pair<std::string, Json>;
  using Object = std::vector<Member>;

  enum class Kind { null, boolean, integer, floating, string, list, object };

  Json() noexcept = default;
  Json(std::nullptr_t) noexcept {}
  Json(const char* text) : Json(std::string(text)) {}
  Json(std::string_view text) : Json(std::string(text)) {}
  Json(std::string text);
  // NaN and infinities can be held, so that a check can name them, but not written as JSON.
  Json(double value);
  Json(float value) : Json(static_cast<double>(value)) {}
  Json(List elements);
  Json(Object members);
  Json(std::initializer_list<Member> members);

  template <class T>
  requires std::same_as<T, bool> Json(T value)
  noexcept : value_(value) {}

  template <class T>
  requires(std::integral<T> && !std::same_as<T, bool> && !std::same_as<T, char>) Json(T value) {
    if constexpr (std::is_signed_v<T>) {
      set_integer(static_cast<std::int64_t>(value));
    } else {
      set_unsigned(static_cast<std::uint64_t>(value));
    }
  }

  template <class T>
  Json(const std::vector<T>& elements) {
    List list;
    list.reserve(elements.size());
    for (std::size_t i = 0; i < elements.size(); ++i)
      list.emplace_back(static_cast<T>(elements[i]));
    value_ = std::move(list);
  }

  template <class T>
  Json(const std::optional<T>& value) {
    if (value) *this = Json(*value);
  }

  Json(char) = delete;
  Json(const void*) = delete;

  [[nodiscard]] static Json list(std::initializer_list<Json> elements) {
    return Json(List(elements));
  }
  [[nodiscard]] static Json object() { return Json(Object()); }

  // A number by its JSON text. Throws for text that is no number and for one beyond the range of double that
  // is not an integer ("1e400").
  [[nodiscard]] static Json number(std::string_view text);

  // ---- what it is
  [[nodiscard]] Kind kind() const noexcept;
  [[nodiscard]] bool is_null() const noexcept { return kind() == Kind::null; }
  [[nodiscard]] bool is_bool() const noexcept { return kind() == Kind::boolean; }
  [[nodiscard]] bool is_integer() const noexcept { return kind() == Kind::integer; }
  [[nodiscard]] bool is_floating() const noexcept { return kind() == Kind::floating; }
  [[nodiscard]] bool is_number() const noexcept { return is_integer() || is_floating(); }
  [[nodiscard]] bool is_string() const noexcept { return kind() == Kind::string; }
  [[nodiscard]] bool is_list() const noexcept { return kind() == Kind::list; }
  [[nodiscard]] bool is_object() const noexcept { return kind() == Kind::object; }

  // ---- contents; a wrong kind throws
  [[nodiscard]] bool as_bool() const;
  [[nodiscard]] const std::string& as_string() const;
  [[nodiscard]] const List& as_list() const;
  [[nodiscard]] const Object& as_object() const;
  [[nodiscard]] const std::string& number_text() const;
  // Exact, or nothing: not an integer, or out of range. Never rounds, never wraps.
  [[nodiscard]] std::optional<std::int64_t> to_int64() const noexcept;
  [[nodiscard]] std::optional<std::uint64_t> to_uint64() const noexcept;
  // The nearest double; integers beyond 1.8e308 give an infinity.
  [[nodiscard]] double to_double() const;
  // -1, 0 or 1, for a number of any size; NaN gives 0.
  [[nodiscard]] int sign() const;
  [[nodiscard]] bool is_odd() const;  // of an integer of any size

  // ---- lists and objects
  [[nodiscard]] std::size_t size() const noexcept;  // elements or members; 0 for the rest
  [[nodiscard]] bool empty() const noexcept { return size() == 0; }
  [[nodiscard]] const Json& at(std::size_t index) const;
  [[nodiscard]] const Json& at(std::string_view key) const;
  [[nodiscard]] const Json* find(std::string_view key) const noexcept;
  [[nodiscard]] bool contains(std::string_view key) const noexcept { return find(key) != nullptr; }
  void set(std::string_view key, Json value);  // replaces in place or appends
  bool erase(std::string_view key);            // whether it was there
  void push_back(Json value);

  // Same contents. The order of keys does not count; 1 and 1.0 are different, 1.0 and 1.00 are not.
  friend bool operator==(const Json& a, const Json& b);

  // JSON text; indent 0 is one line without spaces. Throws for NaN and infinities.
  [[nodiscard]] std::string dump(int indent = 0) const;
  // As dump, for messages: never throws, cut to about `limit` bytes.
  [[nodiscard]] std::string brief(std::size_t limit = 120) const;
  // As Python prints it: None, True, 'text', [1, 2.0], {'k': 1e-08}. Texts are written as they are.
  [[nodiscard]] std::string python_repr() const;

 private:
  struct Number {
    std::string text;
    bool integer = false;
  };

  void set_integer(std::int64_t value);
  void set_unsigned(std::uint64_t value);
  void write(std::string& out, int indent, int depth) const;
  void repr(std::string& out) const;

  std::variant<std::monostate, bool, Number, std::string, List, Object> value_;
};

// A double in its shortest form that reads back equal, as Python prints it: 1.0, 0.0001, 1e-08, 1e+16.
[[nodiscard]] std::string shortest(double value);

// Text in double quotes, escaped as JSON.
[[nodiscard]] std::string json_quoted(std::string_view text);

}  // namespace attn
