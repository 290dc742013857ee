// SPDX-License-Identifier: Apache-2.0
#include "host/cli/call_arguments.hpp"

#include <attn/config.hpp>
#include <attn/error.hpp>

#include <algorithm>

#include "host/cli/program.hpp"

namespace attn::cli {

namespace {

[[noreturn]] void refuse(std::string_view name, const Json& value, const std::string& expected) {
  throw InvalidArgument(
      "Argument '" + std::string(name) + "' " + expected + ", got " + value.brief(),
      {.parameter = std::string(name), .value = value.brief(), .expected = expected});
}

int64_t integer(std::string_view name, const Json& value) {
  if (const auto i = value.to_int64()) return *i;
  // A seed uses all 64 bits; it arrives as the integer with the same bits.
  if (const auto u = value.to_uint64()) return static_cast<int64_t>(*u);
  refuse(name, value, "must fit into 64 bits");
}

}  // namespace

CallArguments::CallArguments(const Json& object) {
  if (!object.is_object())
    throw InvalidArgument("call arguments must be an object, got " + object.brief());
  for (const auto& [name, value] : object.as_object()) add(name, value);
}

void CallArguments::add_assignment(const std::string& given) {
  const NameAndText part = split_assignment("--arg", given, "NAME=JSON");
  try {
    add(part.name, parse_config(part.text, "--arg " + part.name));
  } catch (const InvalidArgument& e) {
    ErrorDetails details = e.details();
    if (details.hint.empty())
      details.hint = "values are JSON: true, 3, 0.5, null, [12, 12], \"text\"";
    throw InvalidArgument(e.what(), details);
  }
}

bool CallArguments::has(std::string_view name) const {
  return std::any_of(arguments_.begin(), arguments_.end(),
                     [&](const Argument& a) { return a.name == name; });
}

void CallArguments::add(std::string_view given_name, const Json& value) {
  const std::string& name = texts_.emplace_back(given_name);
  Argument argument(name, nullptr);
  switch (value.kind()) {
    case Json::Kind::null:
      break;
    case Json::Kind::boolean:
      argument = Argument(name, value.as_bool());
      break;
    case Json::Kind::integer:
      argument = Argument(name, integer(name, value));
      break;
    case Json::Kind::floating:
      argument = Argument(name, value.to_double());
      break;
    case Json::Kind::string:
      argument.value = {.kind = ATTN_VALUE_STR,
                        .count = 0,
                        .u = {.s = texts_.emplace_back(value.as_string()).c_str()}};
      break;
    case Json::Kind::object:
      argument.value = {.kind = ATTN_VALUE_OBJECT,
                        .count = 0,
                        .u = {.s = texts_.emplace_back(value.dump()).c_str()}};
      break;
    case Json::Kind::list: {
      const Json::List& list = value.as_list();
      for (const Json& x : list)
        if (!x.is_number()) refuse(name, value, "must hold numbers only where it is a list");
      const bool whole =
          std::all_of(list.begin(), list.end(), [](const Json& x) { return x.is_integer(); });
      if (whole) {
        auto& numbers = integers_.emplace_back();
        for (const Json& x : list) numbers.push_back(integer(name, x));
        argument = Argument(name, std::span<const int64_t>(numbers));
      } else {
        auto& numbers = reals_.emplace_back();
        for (const Json& x : list) numbers.push_back(x.to_double());
        argument.value = {.kind = ATTN_VALUE_F64S,
                          .count = static_cast<uint32_t>(numbers.size()),
                          .u = {.fs = numbers.data()}};
      }
      break;
    }
  }
  arguments_.push_back(argument);
}

}  // namespace attn::cli
