// SPDX-License-Identifier: Apache-2.0
//
// Options of a family member against its table.
#include <algorithm>
#include <cmath>

#include "core/error/error.hpp"
#include "core/schema/families/constraint.hpp"
#include "core/schema/families/family.hpp"
#include "core/schema/families/initializer.hpp"
#include "core/schema/families/regularizer.hpp"
#include "core/schema/json_text.hpp"

namespace attn::schema {
namespace {

const Option* find_option(const FamilyMember& member, std::string_view name) {
  for (const Option& option : member.options) {
    if (name == option.name) return &option;
  }
  return nullptr;
}

Names option_names(const FamilyMember& member) {
  Names names;
  for (const Option& option : member.options) names.emplace_back(option.name);
  return names;
}

// Kinds that a file or a user may not mix up: bool is no number, 2.0 is no integer.
bool is_finite_number(const Json& value) {
  return value.is_number() && std::isfinite(value.to_double());
}

std::vector<std::int64_t> to_axes(const Json& value) {
  std::vector<std::int64_t> axes;
  if (value.is_integer()) {
    if (const auto axis = value.to_int64()) axes.push_back(*axis);
    return axes;
  }
  if (!value.is_list()) return axes;
  for (const Json& element : value.as_list()) {
    const auto axis = element.to_int64();
    if (!axis) return {};
    axes.push_back(*axis);
  }
  return axes;
}

std::string choice_list(const Option& option) {
  return name_list(Names(option.choices.begin(), option.choices.end()));
}

}  // namespace

Options::Options(const Family& family, const FamilyMember& member, std::string_view name,
                 const Json& given)
    : family_(family),
      member_(member),
      name_(name),
      given_(given.is_null() ? Json::object() : given) {
  Names unknown;
  for (const Json::Member& option : given_.as_object()) {
    if (find_option(member, option.first) == nullptr) unknown.push_back(option.first);
  }
  if (!unknown.empty()) {
    unknown = sorted(std::move(unknown));
    ErrorDetails details;
    details.parameter = unknown.front();
    const Names known = option_names(member);
    details.expected = known.empty() ? "no argument" : "one of " + name_list(sorted(known));
    details.hint = did_you_mean(unknown.front(), known);
    throw InvalidArgument(std::string(family.noun) + " '" + name_ +
                              "' got unsupported argument(s): " + name_list(unknown),
                          std::move(details));
  }
  for (const Option& option : member.options) {
    const Json* value = given_.find(option.name);
    if (value != nullptr) {
      check(option, *value);
      check_range(option, *value);
    } else if (option.required) {
      fail(option.name, "must be given");
    }
  }
  for (const Option& option : member.options) {
    const auto& [owner, choice] = option.only_with;
    const Json* value = given_.find(option.name);
    if (owner == nullptr || value == nullptr || value->is_null()) continue;
    const std::string chosen = this->value(owner).as_string();
    if (chosen != choice)
      fail(option.name, std::string("must be left out where ") + owner + " is '" + chosen +
                            "', which does not use it");
  }
}

void Options::fail(std::string_view option, const std::string& complaint) const {
  ErrorDetails details;
  details.parameter = std::string(option);
  if (const Json* value = given_.find(option)) details.value = value->brief();
  const std::string name(option);
  // The activations' texts are fixed to the letter; the others name the owner and the value, too.
  const bool is_short = std::string_view(family_.option_of) == "activation";
  std::string text = is_short ? "Activation argument '" + name + "' " + complaint
                              : "Argument '" + name + "' of " + family_.option_of + " '" + name_ +
                                    "' " + complaint;
  if (!is_short && !details.value.empty()) text += ", got " + details.value;
  const std::size_t must = complaint.find("must ");
  if (must == 0) details.expected = complaint.substr(5);
  throw InvalidArgument(text, std::move(details));
}

void Options::check(const Option& option, const Json& value) const {
  const std::string or_null = option.nullable ? " or null" : "";
  if (value.is_null() && option.nullable) return;
  try {
    switch (option.kind) {
      case OptionKind::real:
        if (!is_finite_number(value)) fail(option.name, "must be a number");
        return;
      case OptionKind::integer:
        if (!value.is_integer()) fail(option.name, "must be an integer" + or_null);
        return;
      case OptionKind::seed:
        if (!value.to_uint64() && !value.to_int64())
          fail(option.name, "must be an integer of 64 bits or null");
        return;
      case OptionKind::boolean:
        if (!value.is_bool()) fail(option.name, "must be true or false");
        return;
      case OptionKind::axis:
        if (!value.to_int64()) fail(option.name, "must be an integer" + or_null);
        return;
      case OptionKind::axes:
        if (to_axes(value).empty()) fail(option.name, "must be an integer or a list of integers");
        return;
      case OptionKind::reals:
        if (!value.is_list() ||
            !std::all_of(value.as_list().begin(), value.as_list().end(), is_finite_number)) {
          fail(option.name, "must be a list of numbers");
        }
        return;
      case OptionKind::text:
        if (!value.is_string() || std::find(option.choices.begin(), option.choices.end(),
                                            value.as_string()) == option.choices.end()) {
          fail(option.name, "must be one of " + choice_list(option));
        }
        return;
      case OptionKind::initializer:
        if (!value.is_string() && !value.is_object())
          fail(option.name, "must be a name or an object");
        static_cast<void>(resolve_initializer(value));
        return;
      case OptionKind::regularizer:
        if (!value.is_null() && !value.is_string() && !value.is_object()) {
          fail(option.name, "must be a name or an object or null");
        }
        static_cast<void>(resolve_regularizer(value));
        return;
      case OptionKind::constraint:
        static_cast<void>(resolve_constraint(value));
        return;
      case OptionKind::nothing:
        fail(option.name, "is not supported here, only null is taken");
    }
  } catch (const InvalidArgument& error) {
    // What an initializer or regularizer inside the options complained about belongs to this option.
    if (error.details().parameter == option.name) throw;
    ErrorDetails details = error.details();
    details.parameter = option.name + (details.parameter.empty() ? "" : "." + details.parameter);
    throw InvalidArgument(std::string("Argument '") + option.name + "': " + error.what(),
                          std::move(details));
  }
}

void Options::check_range(const Option& option, const Json& value) const {
  if (value.is_number()) {
    switch (option.range) {
      case Range::any:
        break;
      case Range::positive:
        if (value.sign() <= 0) fail(option.name, "must be positive");
        break;
      case Range::not_negative:
        if (value.sign() < 0) fail(option.name, "must not be negative");
        break;
      case Range::unit:
        if (value.to_double() < 0.0 || value.to_double() > 1.0)
          fail(option.name, "must be between 0.0 and 1.0");
        break;
      case Range::open_unit:
        if (value.to_double() <= 0.0 || value.to_double() >= 1.0) {
          fail(option.name, "must be greater than 0.0 and less than 1.0");
        }
        break;
    }
  }
  if (option.kind == OptionKind::axes) {
    std::vector<std::int64_t> axes = to_axes(value);
    std::sort(axes.begin(), axes.end());
    if (std::adjacent_find(axes.begin(), axes.end()) != axes.end()) {
      fail(option.name, "must not name an axis twice");
    }
  }
}

bool Options::given(std::string_view option) const { return given_.contains(option); }

bool Options::has(std::string_view option) const { return find_option(member_, option) != nullptr; }

Json Options::value(std::string_view option) const {
  if (const Json* value = given_.find(option)) return *value;
  const Option* known = find_option(member_, option);
  return known == nullptr ? Json() : parse_json(known->def);
}

double Options::real(std::string_view option) const { return value(option).to_double(); }

bool Options::boolean(std::string_view option) const { return value(option).as_bool(); }

std::vector<std::int64_t> Options::axes(std::string_view option) const {
  std::vector<std::int64_t> axes = to_axes(value(option));
  if (std::find(axes.begin(), axes.end(), 0) != axes.end())
    fail(option, "must not be the batch axis");
  return axes;
}

}  // namespace attn::schema
