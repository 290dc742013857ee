// SPDX-License-Identifier: Apache-2.0
#include "core/schema/validate.hpp"

#include <algorithm>

#include "core/schema/ask.hpp"
#include "core/schema/families/activation.hpp"
#include "core/schema/families/initializer.hpp"
#include "core/schema/families/norm.hpp"
#include "core/schema/families/probability.hpp"
#include "core/schema/families/program.hpp"
#include "core/schema/families/regularizer.hpp"
#include "core/schema/families/rotary.hpp"
#include "core/schema/layer_name.hpp"
#include "core/schema/param_check.hpp"

namespace attn::schema {
namespace {

bool is_required(const attn_param& param) { return (param.flags & ATTN_PARAM_REQUIRED) != 0; }
bool is_extension(const attn_param& param) { return (param.flags & ATTN_PARAM_EXTENSION) != 0; }

Names spellings(const attn_param& param) {
  Names names = {param.name};
  names.insert(names.end(), param.aliases, param.aliases + param.n_aliases);
  return names;
}

class Validation {
 public:
  Validation(const attn_type& type, const Json& parameters, std::string_view plugin)
      : type_(type), given_(parameters), plugin_(plugin) {}

  ValidatedConfig run(const Json& name) {
    if (!given_.is_object()) fail("Parameters must be an object", "", given_, "an object", "");
    refuse_unknown();
    refuse_aliases_beside_first();
    refuse_missing();
    fill_in();
    for (std::uint32_t i = 0; i < type_.n_params; ++i) order_.push_back(i);
    std::stable_partition(order_.begin(), order_.end(),
                          [&](std::uint32_t i) { return is_required(*type_.params[i]); });
    for (const std::uint32_t i : order_) {
      if (given_name_[i].empty()) continue;
      try {
        check_param(*type_.params[i], given_name_[i], values_[i]);
        if (type_.params[i]->kind == ATTN_PARAM_OPTIONS) check_options(i);
      } catch (const InvalidArgument& error) {
        rethrow(error, i);
      }
    }
    check_programs();
    ValidatedConfig result;
    for (std::uint32_t i = 0; i < type_.n_params; ++i) {
      result.values.add(*type_.params[i], without_forced(i));
    }
    check_rules(result.values);
    try {
      check_layer_name(name);
    } catch (const InvalidArgument& error) {
      ErrorDetails details = error.details();
      details.type = type_.id;
      throw InvalidArgument(error.what(), std::move(details));
    }
    for (const std::uint32_t i : order_) {
      if (!is_extension(*type_.params[i]) || !given_name_[i].empty())
        result.effective.set(type_.params[i]->name, values_[i]);
    }
    return result;
  }

 private:
  [[noreturn]] void fail(const std::string& text, const std::string& parameter, const Json& value,
                         const std::string& expected, const std::string& hint) const {
    ErrorDetails details;
    details.type = type_.id;
    details.parameter = parameter;
    if (!value.is_null()) details.value = value.brief();
    details.expected = expected;
    details.hint = hint;
    throw InvalidArgument(text, std::move(details));
  }

  // A parameter's or a family's error, with the names that this configuration uses.
  [[noreturn]] void rethrow(const InvalidArgument& error, std::uint32_t i) const {
    ErrorDetails details = error.details();
    details.type = type_.id;
    const bool inside = !details.parameter.empty();
    // The options of an initializer or regularizer lie one level deeper than its class_name.
    const std::uint32_t kind = type_.params[i]->kind;
    const bool named = kind == ATTN_PARAM_INITIALIZER || kind == ATTN_PARAM_REGULARIZER;
    if (inside && named && !values_[i].contains(details.parameter))
      details.parameter.insert(0, "config.");
    details.parameter = given_name_[i] + (inside ? "." + details.parameter : "");
    if (!inside) details.value = values_[i].brief();
    throw InvalidArgument(error.what(), std::move(details));
  }

  void refuse_unknown() const {
    Names all, accepted, unknown;
    for (std::uint32_t i = 0; i < type_.n_params; ++i) {
      const attn_param& param = *type_.params[i];
      for (const std::string& name : spellings(param)) {
        all.push_back(name);
        if (!is_extension(param) || given_.contains(name)) accepted.push_back(name);
      }
    }
    all = sorted(std::move(all));
    accepted = sorted(std::move(accepted));
    for (const Json::Member& member : given_.as_object()) {
      if (!std::binary_search(all.begin(), all.end(), member.first))
        unknown.push_back(member.first);
    }
    if (unknown.empty()) return;
    unknown = sorted(std::move(unknown));
    fail("Attention type '" + std::string(type_.id) + "' got " + std::to_string(unknown.size()) +
             " unsupported parameter(s) " + name_list(unknown) +
             ". Accepted: " + name_list(accepted),
         unknown.front(), nullptr, "one of " + name_list(accepted),
         did_you_mean(unknown.front(), all));
  }

  void refuse_aliases_beside_first() const {
    for (std::uint32_t i = 0; i < type_.n_params; ++i) {
      Names present;
      for (const std::string& name : spellings(*type_.params[i])) {
        if (given_.contains(name)) present.push_back(name);
      }
      if (present.size() < 2) continue;
      fail("Parameters '" + present[0] + "' and '" + present[1] +
               "' are the same setting; give only one",
           present[1], given_.at(present[1]), "one of the two", "remove '" + present[1] + "'");
    }
  }

  void refuse_missing() const {
    Names missing;
    for (std::uint32_t i = 0; i < type_.n_params; ++i) {
      const Names names = spellings(*type_.params[i]);
      const bool present = std::any_of(names.begin(), names.end(), [&](const std::string& name) {
        return given_.contains(name);
      });
      if (is_required(*type_.params[i]) && !present) missing.push_back(type_.params[i]->name);
    }
    if (missing.empty()) return;
    fail("Required parameters for '" + std::string(type_.id) +
             "' are missing: " + name_list(missing),
         missing.front(), nullptr, "a value for each of them", "add " + name_list(missing));
  }

  void fill_in() {
    for (std::uint32_t i = 0; i < type_.n_params; ++i) {
      const attn_param& param = *type_.params[i];
      const Json* value = nullptr;
      given_name_.emplace_back();
      for (const std::string& name : spellings(param)) {
        if (value == nullptr && (value = given_.find(name)) != nullptr) given_name_.back() = name;
      }
      values_.push_back(value != nullptr ? *value : to_json(param, param.def));
    }
  }

  [[nodiscard]] const attn_param* find(std::string_view name, std::uint32_t* index) const {
    for (std::uint32_t i = 0; i < type_.n_params; ++i) {
      if (name == type_.params[i]->name) return *index = i, type_.params[i];
    }
    return nullptr;
  }

  // Which member the options belong to: that of the parameter they are `of`, unless a flag says otherwise.
  [[nodiscard]] Json member_of(const attn_param& param, const Json& chosen) const {
    for (std::uint32_t c = 0; c < param.n_choices; ++c) {
      const std::string_view choice = param.choices[c];
      const std::size_t equals = choice.find('=');
      std::uint32_t flag = 0;
      if (equals == std::string_view::npos || find(choice.substr(0, equals), &flag) == nullptr)
        continue;
      if (values_[flag].is_bool() && values_[flag].as_bool())
        return Json(choice.substr(equals + 1));
    }
    return chosen;
  }

  [[nodiscard]] bool is_forced(const attn_param& param, std::string_view option) const {
    return std::any_of(param.choices, param.choices + param.n_choices,
                       [&](std::string_view choice) {
                         return choice.substr(0, 1) == "!" && choice.substr(1) == option;
                       });
  }

  void check_options(std::uint32_t i) const {
    const attn_param& param = *type_.params[i];
    std::uint32_t of = 0;
    const attn_param* owner = param.of == nullptr ? nullptr : find(param.of, &of);
    if (owner == nullptr && names_itself(param)) static_cast<void>(resolve_rotary(values_[i]));
    if (owner == nullptr || values_[i].is_null()) return;
    const Json member = member_of(param, values_[of]);
    switch (owner->kind) {
      case ATTN_PARAM_PROBABILITY:
        if (member.is_string()) {
          static_cast<void>(
              resolve_probability(member.as_string(), values_[i], is_forced(param, "axis")));
        }
        return;
      case ATTN_PARAM_NORM:
        // Beside null, and beside a further name that only the type itself understands, nothing is checked.
        if (member.is_string() && norms().find(member.as_string()) != nullptr) {
          static_cast<void>(resolve_norm(member, values_[i]));
        }
        return;
      case ATTN_PARAM_ACTIVATION:
        static_cast<void>(resolve_activation(member, values_[i]));
        return;
      default:
        return;
    }
  }

  // Score programs and mask rules, with what they capture.
  void check_programs() const {
    std::uint32_t captured = type_.n_params;
    Names texts;
    for (std::uint32_t i = 0; i < type_.n_params; ++i) {
      if (is_captures(*type_.params[i])) captured = i;
      if (is_program(*type_.params[i])) texts.emplace_back(type_.params[i]->name);
    }
    const auto checked = [&](std::uint32_t i, const auto& check) {
      try {
        check();
      } catch (const InvalidArgument& error) {
        rethrow(error, i);
      }
    };
    Captures captures;
    if (captured < type_.n_params)
      checked(captured, [&] {
        captures = resolve_captures(values_[captured]);
        check_tables(type_, captures);
      });
    bool used = false;
    std::vector<std::string_view> read;
    for (std::uint32_t i = 0; i < type_.n_params; ++i) {
      const auto param = program_param(*type_.params[i]);
      if (!param || values_[i].is_null()) continue;
      used = true;
      checked(i, [&] { check_program(*param, values_[i].as_string(), captures); });
      for (const std::string_view word : program::words(param->kind, values_[i].as_string()))
        read.push_back(word);
    }
    if (!used && !captures.names.empty())
      fail("Parameter '" + given_name_[captured] + "' has no effect without " + name_list(texts),
           given_name_[captured], values_[captured], "one of " + name_list(texts) + " beside it",
           "add one, or remove '" + given_name_[captured] + "'");
    for (const program::Name& capture : captures.names)
      if (std::find(read.begin(), read.end(), capture.name) == read.end())
        checked(captured, [&] { refuse_unread(capture.name, values_[captured], texts); });
  }

  [[nodiscard]] Json without_forced(std::uint32_t i) const {
    const attn_param& param = *type_.params[i];
    Json value = values_[i];
    if (param.kind != ATTN_PARAM_OPTIONS || !value.is_object()) return value;
    for (const Json::Member& member : values_[i].as_object()) {
      if (is_forced(param, member.first)) value.erase(member.first);
    }
    return value;
  }

  void check_rules(const ValueList& values) const {
    for (std::uint32_t r = 0; r < type_.n_rules; ++r) {
      const attn_rule& rule = *type_.rules[r];
      if (ask(type_, plugin_, "check() of the rule", rule.text,
              [&] { return rule.check(values.data(), rule.user); }))
        continue;
      std::string text, first;
      std::string_view rest = rule.text;
      while (!rest.empty()) {
        const std::size_t open = rest.find('{'), close = rest.find('}', open);
        std::uint32_t index = 0;
        const bool placeholder = close != std::string_view::npos &&
                                 find(rest.substr(open + 1, close - open - 1), &index) != nullptr;
        const std::size_t end = open == std::string_view::npos ? rest.size()
                                : placeholder                  ? open
                                                               : open + 1;
        text += rest.substr(0, end);
        rest.remove_prefix(placeholder ? close + 1 : end);
        if (!placeholder) continue;
        text +=
            values_[index].is_string() ? values_[index].as_string() : values_[index].python_repr();
        if (first.empty())
          first = given_name_[index].empty() ? type_.params[index]->name : given_name_[index];
      }
      fail(text, first, first.empty() ? Json() : value_of(first), "",
           "change one of the values named");
    }
  }

  [[nodiscard]] Json value_of(const std::string& name) const {
    if (const Json* value = given_.find(name)) return *value;
    std::uint32_t index = 0;
    return find(name, &index) != nullptr ? values_[index] : Json();
  }

  const attn_type& type_;
  const Json& given_;
  std::string_view plugin_;
  std::vector<std::uint32_t> order_{};  // required ones first
  // By parameter: the name the user wrote, empty when absent, and the effective value.
  std::vector<std::string> given_name_{};
  std::vector<Json> values_{};
};

}  // namespace

ValidatedConfig validate(const attn_type& type, const Json& parameters, const Json& name,
                         std::string_view plugin) {
  return Validation(type, parameters, plugin).run(name);
}

InvalidArgument unknown_type(std::string_view given, const Names& known) {
  ErrorDetails details;
  details.parameter = "type";
  details.value = json_quoted(given);
  details.expected = "one of " + name_list(sorted(known));
  details.hint = did_you_mean(given, known);
  return InvalidArgument("Unknown attention type '" + std::string(given) + "'", std::move(details));
}

namespace {

std::vector<std::string> read_require(const Json& list) {
  std::vector<std::string> claims;
  bool sound = list.is_list();
  for (std::size_t i = 0; sound && i < list.size(); ++i) {
    sound = list.at(i).is_string();
    if (sound) claims.push_back(list.at(i).as_string());
  }
  if (sound) return claims;
  const std::string expected = "a list of claims, such as [\"causal\"]";
  const std::string hint = "`attn info TYPE` shows what a type claims";
  throw InvalidArgument(
      "Configuration key '$require' must be a list of claims, got " + list.brief() + "; expected " +
          expected + "; " + hint,
      {.parameter = "$require", .value = list.brief(), .expected = expected, .hint = hint});
}

}  // namespace

SplitConfig split_config(const Json& config) {
  ErrorDetails details;
  if (!config.is_object()) {
    details.value = config.brief();
    details.expected = "an object";
    throw InvalidArgument("Configuration must be a dictionary", std::move(details));
  }
  const Json* type = config.find("type");
  details.parameter = "type";
  details.expected = "the name of an attention type";
  if (type == nullptr)
    throw InvalidArgument("Configuration must include a 'type' key", std::move(details));
  details.value = type->brief();
  if (!type->is_string())
    throw InvalidArgument("Configuration key 'type' must be a string", std::move(details));
  SplitConfig split{type->as_string(), {}, config, {}};
  if (const Json* name = config.find("name")) split.name = *name;
  if (const Json* claims = config.find("$require")) split.require = read_require(*claims);
  for (const char* key : {"type", "name", "$schema", "$require"}) split.parameters.erase(key);
  return split;
}

std::vector<const attn_param*> ordered_params(const attn_type& type) {
  std::vector<const attn_param*> params(type.params, type.params + type.n_params);
  std::stable_partition(params.begin(), params.end(),
                        [](const attn_param* param) { return is_required(*param); });
  return params;
}

Json serialized(const attn_type& type, const Json& effective) {
  Json result = effective;
  for (std::uint32_t i = 0; i < type.n_params; ++i) {
    const attn_param& param = *type.params[i];
    const Json* value = effective.find(param.name);
    if (value == nullptr) continue;
    if (param.kind == ATTN_PARAM_INITIALIZER) result.set(param.name, serialize_initializer(*value));
    if (param.kind == ATTN_PARAM_REGULARIZER) result.set(param.name, serialize_regularizer(*value));
  }
  return result;
}

}  // namespace attn::schema
