// SPDX-License-Identifier: Apache-2.0
//
// Building and reading Json values. Printing: json_print.cpp. Numbers: json_number.cpp.
#include "core/schema/json.hpp"

#include <algorithm>

#include "core/error/error.hpp"
#include "core/schema/text.hpp"

namespace attn {
namespace {

const char* name_of(Json::Kind kind) {
  switch (kind) {
    case Json::Kind::null:
      return "null";
    case Json::Kind::boolean:
      return "a bool";
    case Json::Kind::integer:
      return "an integer";
    case Json::Kind::floating:
      return "a floating number";
    case Json::Kind::string:
      return "a text";
    case Json::Kind::list:
      return "a list";
    case Json::Kind::object:
      return "an object";
  }
  return "nothing";
}

[[noreturn]] void wrong_kind(const Json& value, const char* expected) {
  ErrorDetails details;
  details.value = value.brief();
  details.expected = expected;
  throw InvalidArgument(
      std::string("JSON value is ") + name_of(value.kind()) + ", expected " + expected,
      std::move(details));
}

[[noreturn]] void repeated_key(const std::string& key) {
  ErrorDetails details;
  details.parameter = key;
  details.hint = "give it once";
  throw InvalidArgument("Key " + json_quoted(key) + " is a duplicate", std::move(details));
}

void refuse_repeated_keys(const Json::Object& members) {
  std::vector<std::string_view> keys;
  keys.reserve(members.size());
  for (const Json::Member& member : members) keys.emplace_back(member.first);
  std::sort(keys.begin(), keys.end());
  const auto twice = std::adjacent_find(keys.begin(), keys.end());
  if (twice != keys.end()) repeated_key(std::string(*twice));
}

}  // namespace

Json::Json(std::string text) : value_(std::move(text)) {}

Json::Json(List elements) : value_(std::move(elements)) {}

Json::Json(Object members) {
  refuse_repeated_keys(members);
  value_ = std::move(members);
}

Json::Json(std::initializer_list<Member> members) : Json(Object(members)) {}

Json::Kind Json::kind() const noexcept {
  switch (value_.index()) {
    case 1:
      return Kind::boolean;
    case 2:
      return std::get_if<Number>(&value_)->integer ? Kind::integer : Kind::floating;
    case 3:
      return Kind::string;
    case 4:
      return Kind::list;
    case 5:
      return Kind::object;
    default:
      return Kind::null;
  }
}

bool Json::as_bool() const {
  if (const bool* value = std::get_if<bool>(&value_)) return *value;
  wrong_kind(*this, "a bool");
}

const std::string& Json::as_string() const {
  if (const std::string* value = std::get_if<std::string>(&value_)) return *value;
  wrong_kind(*this, "a text");
}

const Json::List& Json::as_list() const {
  if (const List* value = std::get_if<List>(&value_)) return *value;
  wrong_kind(*this, "a list");
}

const Json::Object& Json::as_object() const {
  if (const Object* value = std::get_if<Object>(&value_)) return *value;
  wrong_kind(*this, "an object");
}

const std::string& Json::number_text() const {
  if (const Number* value = std::get_if<Number>(&value_)) return value->text;
  wrong_kind(*this, "a number");
}

std::size_t Json::size() const noexcept {
  if (const List* list = std::get_if<List>(&value_)) return list->size();
  if (const Object* object = std::get_if<Object>(&value_)) return object->size();
  return 0;
}

const Json& Json::at(std::size_t index) const {
  const List& elements = as_list();
  if (index < elements.size()) return elements[index];
  throw InvalidArgument("JSON list has " + std::to_string(elements.size()) + " elements, index " +
                        std::to_string(index) + " is not one of them; expected an index from 0");
}

const Json& Json::at(std::string_view key) const {
  static_cast<void>(as_object());
  if (const Json* value = find(key)) return *value;
  schema::Names keys;
  for (const Member& member : as_object()) keys.push_back(member.first);
  const std::string near = did_you_mean(key, keys);
  const size_t all = keys.size();
  keys.resize(std::min<size_t>(all, 20));
  throw InvalidArgument("JSON object has no key " + json_quoted(key) + "; it has " +
                            schema::name_list(keys) + (all > keys.size() ? " and more" : "") +
                            (near.empty() ? "" : "; " + near),
                        {.parameter = std::string(key), .hint = near});
}

const Json* Json::find(std::string_view key) const noexcept {
  const Object* members = std::get_if<Object>(&value_);
  if (members == nullptr) return nullptr;
  for (const Member& member : *members) {
    if (member.first == key) return &member.second;
  }
  return nullptr;
}

void Json::set(std::string_view key, Json value) {
  Object& members = const_cast<Object&>(as_object());
  for (Member& member : members) {
    if (member.first == key) {
      member.second = std::move(value);
      return;
    }
  }
  members.emplace_back(std::string(key), std::move(value));
}

bool Json::erase(std::string_view key) {
  Object& members = const_cast<Object&>(as_object());
  const auto found = std::find_if(members.begin(), members.end(),
                                  [&](const Member& member) { return member.first == key; });
  if (found == members.end()) return false;
  members.erase(found);
  return true;
}

void Json::push_back(Json value) { const_cast<List&>(as_list()).push_back(std::move(value)); }

bool operator==(const Json& a, const Json& b) {
  if (a.kind() != b.kind() || a.size() != b.size()) return false;
  switch (a.kind()) {
    case Json::Kind::null:
      return true;
    case Json::Kind::boolean:
      return a.as_bool() == b.as_bool();
    case Json::Kind::integer:
      return a.number_text() == b.number_text() || (a.sign() == 0 && b.sign() == 0);
    case Json::Kind::floating:
      return a.to_double() == b.to_double();
    case Json::Kind::string:
      return a.as_string() == b.as_string();
    case Json::Kind::list:
      return a.as_list() == b.as_list();
    case Json::Kind::object:
      break;
  }
  return std::all_of(a.as_object().begin(), a.as_object().end(), [&](const Json::Member& member) {
    const Json* other = b.find(member.first);
    return other != nullptr && *other == member.second;
  });
}

}  // namespace attn
