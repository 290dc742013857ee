// SPDX-License-Identifier: Apache-2.0
//
// What the schema allows has to work.
#include <sys/resource.h>
#include <attn/error.hpp>
#include <attn/factory.hpp>

#include <cmath>
#include <limits>

#include "core/schema/param_check.hpp"
#include "host/check/schema/lists.hpp"
#include "host/check/values.hpp"

namespace attn::check {
namespace {

Outcome has_config(Subject& s) {
  if (std::string why = s.why_no_config(); !why.empty())
    return failed("no config was found that the type accepts; the last refusal was: " + why);
  return passed(s.config().dump());
}

// The config that a layer shows is what its file stores.
Outcome round_trip(Subject& s) {
  std::vector<Json> configs = s.configs(static_cast<size_t>(s.times(60, 10)));
  configs.push_back(s.config());
  for (const Json& config : configs) {
    s.doing("a layer of " + config.dump());
    const auto first = create_attention_layer(s.id(), config);
    Json shown = first->config();
    shown.erase("name");
    const auto again = create_attention_layer(s.id(), shown);
    Json second = again->config();
    second.erase("name");
    if (!(second == shown))
      return failed(
          "a layer made from the config that another one shows has another config, so that a saved "
          "layer "
          "comes back as something else; look at resolve_defaults()",
          shown.dump() + " became " + second.dump());
    const auto sample = s.find_sample(config);
    if (!sample) continue;
    s.doing("calls of " + sample->text());
    Sample other = sample->clone();
    other.config = shown;
    for (Attention* layer : {first.get(), again.get()}) layer->build(sample->shapes(), {.seed = 1});
    const std::string difference = first_difference(call(*again, other), call(*first, *sample));
    if (!difference.empty())
      return failed(
          "a layer made from the config that another one shows computes something else; show what "
          "it "
          "computes with, look at resolve_defaults()",
          config.dump() + " and " + shown.dump() + ": " + difference);
  }
  return passed(std::to_string(configs.size()) + " configs");
}

// Passes validation, and then create(), which has nothing to refuse any more.
std::string refusal_by_create(Subject& s, const Json& config) {
  try {
    validate_attention_config(s.id(), config);
  } catch (const InvalidArgument&) {
    return "";  // a rule between parameters
  }
  s.doing("create() with " + config.dump());
  try {
    static_cast<void>(create_attention_layer(s.id(), config));
  } catch (const InvalidArgument& e) {
    return e.what();
  }
  return "";
}

// The values that lie on a bound, or are the first inside of an open one.
std::vector<Json> on_bounds(const attn_param& p) {
  std::vector<Json> out;
  if (p.kind == ATTN_PARAM_INT || p.kind == ATTN_PARAM_INT_OR_PAIR) {
    const IntegerRange range = integer_range(p);
    const bool odd = (p.flags & ATTN_PARAM_ODD) != 0;
    if (p.flags & ATTN_PARAM_HAS_MIN) out.emplace_back(range.least + (odd && range.least % 2 == 0));
    if (p.flags & ATTN_PARAM_HAS_MAX) out.emplace_back(range.most - (odd && range.most % 2 == 0));
  }
  if (p.kind == ATTN_PARAM_REAL) {
    const auto number = [](const attn_value& v) {
      return v.kind == ATTN_VALUE_I64 ? static_cast<double>(v.u.i) : v.u.f;
    };
    constexpr double kInfinity = std::numeric_limits<double>::infinity();
    if (p.flags & ATTN_PARAM_HAS_MIN)
      out.emplace_back(p.flags & ATTN_PARAM_EXCLUSIVE_MIN ? std::nextafter(number(p.min), kInfinity)
                                                          : number(p.min));
    if (p.flags & ATTN_PARAM_HAS_MAX)
      out.emplace_back(p.flags & ATTN_PARAM_EXCLUSIVE_MAX
                           ? std::nextafter(number(p.max), -kInfinity)
                           : number(p.max));
  }
  return out;
}

// Each of values_of(parameter), the other parameters as they are.
template <class Values>
Outcome values_accepted(Subject& s, Values values_of, const char* remedy, const char* none) {
  const attn_type& t = s.type();
  size_t tried = 0;
  for (uint32_t i = 0; i < t.n_params; ++i)
    for (const Json& value : values_of(*t.params[i])) {
      const Json config = with(s.config(), t.params[i]->name, value);
      ++tried;
      if (const std::string text = refusal_by_create(s, config); !text.empty())
        return failed(
            "create() refuses what the schema allows; " + std::string(remedy) + ": " + text,
            config.dump());
    }
  return tried ? passed(std::to_string(tried) + " values") : skipped(none);
}

Outcome bounds_accepted(Subject& s) {
  const auto values = [](const attn_param& p) {
    std::vector<Json> out = on_bounds(p);
    for (const Json& value : out) schema::check_param(p, p.name, value);
    return out;
  };
  return values_accepted(
      s, values, "narrow the range, or make it a rule, so that it is known before a layer is made",
      "no parameter has a bound");
}

Outcome choices_accepted(Subject& s) {
  const auto values = [](const attn_param& p) {
    std::vector<Json> out;
    if (p.kind == ATTN_PARAM_TEXT || p.kind == ATTN_PARAM_NORM)
      for (uint32_t c = 0; c < p.n_choices; ++c) out.emplace_back(p.choices[c]);
    if (p.kind == ATTN_PARAM_BOOL) out = {false, true};
    if (p.flags & ATTN_PARAM_NULLABLE) out.emplace_back(nullptr);
    return out;
  };
  return values_accepted(s, values, "take the choice out, or make it a rule", "nothing to choose");
}

Outcome aliases(Subject& s) {
  const attn_type& t = s.type();
  size_t tried = 0;
  for (uint32_t i = 0; i < t.n_params; ++i)
    for (uint32_t a = 0; a < t.params[i]->n_aliases; ++a) {
      Json config = s.config();
      const auto values = other_values(*t.params[i], nullptr);
      const Json value = config.contains(t.params[i]->name) ? config.at(t.params[i]->name)
                         : values.empty()                   ? Json(nullptr)
                                                            : values.front();
      config.erase(t.params[i]->name);
      const Json first = with(config, t.params[i]->name, value);
      const Json second = with(config, t.params[i]->aliases[a], value);
      try {
        validate_attention_config(s.id(), first);
      } catch (const InvalidArgument&) {
        continue;
      }
      ++tried;
      Json x = create_attention_layer(s.id(), first, "layer")->config();
      Json y = create_attention_layer(s.id(), second, "layer")->config();
      if (!(x == y))
        return failed("an alias means something else than its parameter",
                      first.dump() + " and " + second.dump());
    }
  return tried ? passed(std::to_string(tried) + " aliases") : skipped("it has no aliases");
}

// Whatever a parameter without a bound is set to: refused, or it works; nothing crashes and nothing hangs.
Outcome odd_numbers(Subject& s) {
  const rlimit memory{rlim_t{6} << 30, rlim_t{6} << 30};
  ::setrlimit(RLIMIT_AS, &memory);  // what asks for more gets an error at once
  const attn_type& t = s.type();
  size_t tried = 0;
  const auto tries = [&](const Json& config, bool calls) {
    ++tried;
    s.doing("a layer of " + config.dump());
    try {
      const auto layer = create_attention_layer(s.id(), config);
      if (calls)
        if (const auto sample = s.find_sample(config)) {
          s.doing("a call of " + sample->text());
          static_cast<void>(call(*s.layer(*sample), *sample));
        }
    } catch (const InvalidArgument&) {
    } catch (const Failure&) {  // no memory for it
    }
  };
  for (uint32_t i = 0; i < t.n_params; ++i) {
    const attn_param& p = *t.params[i];
    if (p.kind == ATTN_PARAM_INT || p.kind == ATTN_PARAM_INT_OR_PAIR) {
      for (const int64_t n : {0, -1, 1, 2, 3, 7}) tries(with(s.config(), p.name, n), true);
      for (const int64_t n :
           {INT64_MIN, int64_t{INT32_MIN}, int64_t{INT32_MAX}, int64_t{1} << 40, INT64_MAX})
        tries(with(s.config(), p.name, n), false);
    }
    if (p.kind == ATTN_PARAM_REAL)
      for (const double x : {0.0, -0.0, 1.0, -1.0, 1e-300, 1e-30, 1e30, -1e30, 1e300, -1e300})
        tries(with(s.config(), p.name, x), true);
  }
  return tried ? passed(std::to_string(tried) + " configs") : skipped("it has no numbers");
}

// The functions of rules with any values of the right kinds.
Outcome rules_stable(Subject& s) {
  const attn_type& t = s.type();
  if (t.n_rules == 0) return skipped("it has no rules");
  std::vector<std::vector<Json>> values;
  for (uint32_t i = 0; i < t.n_params; ++i) {
    values.push_back(required_values(*t.params[i]));
    if (const Json* now = s.config().find(t.params[i]->name))
      values.back().insert(values.back().begin(), *now);
  }
  Random random = s.random("rules");
  const int64_t count = s.times(500, 100);
  for (int64_t n = 0; n < count; ++n) {
    Json config = s.config();
    for (uint32_t i = 0; i < t.n_params; ++i)
      if (random.chance(0.5) && !values[i].empty())
        config.set(t.params[i]->name, random.pick(values[i]));
    s.doing("the rules with " + config.dump());
    std::string answers[2];
    for (std::string& answer : answers) try {
        validate_attention_config(s.id(), config);
      } catch (const InvalidArgument& e) {
        answer = e.what();
      }
    if (answers[0] != answers[1])
      return failed(
          "a rule answers differently when it is asked again; it may look at its values alone",
          config.dump() + ": \"" + answers[0] + "\", then \"" + answers[1] + "\"");
  }
  return passed(std::to_string(count) + " configs");
}

}  // namespace

std::span<const Test> value_tests() {
  static constexpr Test kTests[] = {
      {.name = "has_a_config",
       .promise = "The defaults fit together: with its required parameters alone the type can be "
                  "made and called.",
       .run = has_config,
       .group = Group::schema},
      {.name = "config_round_trip",
       .promise = "The config that a layer shows makes the same layer.",
       .run = round_trip,
       .group = Group::schema},
      {.name = "bounds_accepted",
       .promise = "Values on the bounds of their ranges are taken.",
       .run = bounds_accepted,
       .group = Group::schema},
      {.name = "choices_accepted",
       .promise = "Every choice, both switches and every null that the schema allows are taken.",
       .run = choices_accepted,
       .group = Group::schema},
      {.name = "aliases",
       .promise = "An alias means what its parameter means.",
       .run = aliases,
       .group = Group::schema},
      {.name = "odd_numbers",
       .promise = "Any number for any parameter is refused or works; nothing crashes or hangs.",
       .run = odd_numbers,
       .group = Group::schema},
      {.name = "rules_stable",
       .promise = "Rules answer for all values of the right kinds, and the same each time.",
       .run = rules_stable,
       .group = Group::schema},
  };
  return kTests;
}

}  // namespace attn::check
