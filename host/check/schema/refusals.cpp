// SPDX-License-Identifier: Apache-2.0
//
// What the schema does not allow has to be refused, by name.
#include <attn/error.hpp>
#include <attn/factory.hpp>

#include <cmath>
#include <limits>

#include "core/schema/json_text.hpp"
#include "core/schema/param_check.hpp"
#include "host/check/schema/lists.hpp"
#include "host/check/values.hpp"

namespace attn::check {

std::string bad_refusal(const std::string& parameter, const std::function<void()>& refuses) {
  try {
    refuses();
  } catch (const InvalidArgument& e) {
    const std::string text = e.what();
    if (text.find(parameter) != std::string::npos ||
        e.details().parameter.find(parameter) != std::string::npos)
      return "";
    return "the refusal does not name '" + parameter + "': " + text;
  }
  return "is taken";
}

namespace {

// Values that are outside, each with the reason.
std::vector<Json> beyond_bounds(const attn_param& p) {
  std::vector<Json> out;
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  const bool has_min = p.flags & ATTN_PARAM_HAS_MIN, has_max = p.flags & ATTN_PARAM_HAS_MAX;
  if (p.kind == ATTN_PARAM_INT || p.kind == ATTN_PARAM_INT_OR_PAIR) {
    const IntegerRange range = integer_range(p);
    if (has_min && range.least > INT64_MIN) out.emplace_back(range.least - 1);
    if (has_max && range.most < INT64_MAX) out.emplace_back(range.most + 1);
    if (p.flags & ATTN_PARAM_ODD) out.emplace_back((std::max<int64_t>(range.least, 1) + 1) / 2 * 2);
    out.push_back(schema::parse_json("123456789012345678901234567890"));
    out.push_back(schema::parse_json("-123456789012345678901234567890"));
  }
  if (p.kind == ATTN_PARAM_REAL) {
    const auto number = [](const attn_value& v) {
      return v.kind == ATTN_VALUE_I64 ? static_cast<double>(v.u.i) : v.u.f;
    };
    if (has_min)
      out.emplace_back(p.flags & ATTN_PARAM_EXCLUSIVE_MIN
                           ? number(p.min)
                           : std::nextafter(number(p.min), -kInfinity));
    if (has_max)
      out.emplace_back(p.flags & ATTN_PARAM_EXCLUSIVE_MAX
                           ? number(p.max)
                           : std::nextafter(number(p.max), kInfinity));
    out.insert(out.end(), {std::nan(""), kInfinity, -kInfinity});
  }
  if (p.kind == ATTN_PARAM_TEXT && p.n_choices) out.emplace_back("no such choice");
  return out;
}

std::vector<Json> other_kinds(const attn_param& p) {
  std::vector<Json> out;
  for (const Json& value : {Json(true), Json(3), Json(0.5), Json("text"), Json::list({1, 2, 3}),
                            Json(Json::Object{{"a", 1}}), Json(nullptr)}) {
    try {
      schema::check_param(p, p.name, value);
    } catch (const InvalidArgument&) {
      out.push_back(value);
    }
  }
  return out;
}

// JSON has no word for some of them.
std::string shown(const Json& value) {
  return value.is_floating() ? number_text(value.to_double()) : value.brief();
}

// Each value of each parameter, given alone beside the base config, is refused by the name of the parameter.
Outcome refuse_all(Subject& s, std::vector<Json> (*values)(const attn_param&), const char* what) {
  const attn_type& t = s.type();
  size_t tried = 0;
  for (uint32_t i = 0; i < t.n_params; ++i)
    for (const Json& value : values(*t.params[i])) {
      const Json config = with(s.config(), t.params[i]->name, value);
      ++tried;
      s.doing(std::string("the refusal of ") + t.params[i]->name + " = " + shown(value));
      const std::string bad =
          bad_refusal(t.params[i]->name, [&] { validate_attention_config(s.id(), config); });
      if (!bad.empty())
        return failed(
            std::string(what) + ": '" + t.params[i]->name + "' = " + shown(value) + " " + bad,
            "beside " + s.config().dump());
    }
  return tried ? passed(std::to_string(tried) + " values") : skipped("it has no such parameter");
}

Outcome beyond(Subject& s) { return refuse_all(s, beyond_bounds, "a value outside of the range"); }
Outcome wrong_kinds(Subject& s) { return refuse_all(s, other_kinds, "a value of another kind"); }

Outcome missing(Subject& s) {
  const attn_type& t = s.type();
  size_t tried = 0;
  for (uint32_t i = 0; i < t.n_params; ++i) {
    if (!(t.params[i]->flags & ATTN_PARAM_REQUIRED)) continue;
    Json config = s.config();
    config.erase(t.params[i]->name);
    ++tried;
    const std::string bad =
        bad_refusal(t.params[i]->name, [&] { validate_attention_config(s.id(), config); });
    if (!bad.empty())
      return failed("a config without '" + std::string(t.params[i]->name) + "' " + bad,
                    config.dump());
  }
  return tried ? passed() : skipped("no parameter is required");
}

Outcome unknown(Subject& s) {
  const std::string bad = bad_refusal("no_such_parameter", [&] {
    validate_attention_config(s.id(), with(s.config(), "no_such_parameter", 1));
  });
  if (!bad.empty()) return failed("an unknown parameter " + bad);
  const Sample sample = s.sample();
  const auto layer = s.layer(sample);
  const std::string input = bad_refusal("no_such_input", [&] {
    std::vector<Input> inputs = sample.inputs();
    inputs.emplace_back("no_such_input", sample.tensors.front().value.view());
    static_cast<void>(layer->forward_all(inputs));
  });
  if (!input.empty()) return failed("an unknown input " + input);
  Sample other = sample.clone();
  other.arguments.set("no_such_argument", true);
  const std::string argument =
      bad_refusal("no_such_argument", [&] { static_cast<void>(call(*layer, other)); });
  if (!argument.empty()) return failed("an unknown argument of the call " + argument);
  return passed();
}

Outcome arguments(Subject& s) {
  const attn_type& t = s.type();
  if (t.n_args == 0) return skipped("its calls take no arguments");
  const Sample sample = s.sample();
  const auto layer = s.layer(sample);
  size_t tried = 0;
  for (uint32_t i = 0; i < t.n_args; ++i) {
    std::vector<Json> values = beyond_bounds(*t.args[i]);
    for (Json& value : other_kinds(*t.args[i])) values.push_back(std::move(value));
    for (const Json& value : values) {
      Sample other = sample.clone();
      other.arguments.set(t.args[i]->name, value);
      try {
        static_cast<void>(other.call_arguments());  // what no call can carry
      } catch (const InvalidArgument&) {
        continue;
      }
      ++tried;
      s.doing("the refusal of " + other.text());
      const std::string bad =
          bad_refusal(t.args[i]->name, [&] { static_cast<void>(call(*layer, other)); });
      if (!bad.empty())
        return failed("an argument outside of what it may be: '" + std::string(t.args[i]->name) +
                          "' = " + shown(value) + " " + bad,
                      other.text());
    }
  }
  return passed(std::to_string(tried) + " values");
}

}  // namespace

std::span<const Test> refusal_tests() {
  static constexpr Test kTests[] = {
      {.name = "beyond_bounds_refused",
       .promise = "Values just outside of their ranges, NaN and numbers beyond 64 bits are refused "
                  "by name.",
       .run = beyond,
       .group = Group::schema},
      {.name = "wrong_kinds_refused",
       .promise = "Values of another kind are refused by the name of their parameter.",
       .run = wrong_kinds,
       .group = Group::schema},
      {.name = "missing_refused",
       .promise = "A config without a required parameter is refused by its name.",
       .run = missing,
       .group = Group::schema},
      {.name = "unknown_refused",
       .promise = "Unknown parameters, inputs and arguments are refused by name.",
       .run = unknown,
       .group = Group::schema},
      {.name = "arguments_refused",
       .promise =
           "Arguments of calls outside of their ranges or of another kind are refused by name.",
       .run = arguments,
       .group = Group::schema},
  };
  return kTests;
}

}  // namespace attn::check
