// SPDX-License-Identifier: Apache-2.0
#include "core/schema/families/rotary.hpp"

#include <cmath>

#include "core/error/error.hpp"

namespace attn::schema {
namespace {

using K = RopeScaling;

Option number(const char* name, const char* def, bool required = false) {
  return {name, OptionKind::real, Range::positive, def, false, {}, required};
}
Option number_or_null(const char* name) {
  return {name, OptionKind::real, Range::positive, "null", true};
}
Option flag(const char* name, const char* def) {
  return {name, OptionKind::boolean, Range::any, def};
}
Option list(const char* name, bool required) {
  return {name, OptionKind::reals, Range::any, "[]", false, {}, required};
}

FamilyMember member(const char* name, K kind, std::vector<Option> options) {
  options.push_back(list("mrope_section", false));
  options.push_back(flag("mrope_interleaved", "false"));
  options.push_back(flag("mrope_axial", "false"));
  return {name, {}, static_cast<int>(kind), std::move(options)};
}

}  // namespace

const Family& rotary_scalings() {
  static const Family family = [] {
    const Option factor = number("factor", "1.0", true);
    const Option original = number("original_max_position_embeddings", "1.0", true);
    const Option attention = number_or_null("attention_factor");
    Family made{"Rope type", "rope type", false, {}};
    made.members = {
        member("default", K::none, {}),
        member("linear", K::linear, {factor}),
        member("dynamic", K::dynamic, {factor, original}),
        member(
            "yarn", K::yarn,
            {factor, original, attention, number("beta_fast", "32.0"), number("beta_slow", "1.0"),
             number_or_null("mscale"), number_or_null("mscale_all_dim"), flag("truncate", "true")}),
        member("longrope", K::longrope,
               {list("short_factor", true), list("long_factor", true), number("factor", "1.0"),
                original, attention}),
        member("llama3", K::llama3,
               {factor, original, number("low_freq_factor", "1.0", true),
                number("high_freq_factor", "4.0", true)}),
    };
    return made;
  }();
  return family;
}

namespace {

// What YaRN multiplies scores by, so to speak: 0.1 m ln(factor) + 1.
double yarn_scale(double factor, double m) {
  return factor <= 1 ? 1.0 : 0.1 * m * std::log(factor) + 1.0;
}

double attention_factor(const Options& o, K kind, const ResolvedRotary& r) {
  const Json given = o.value("attention_factor");
  if (!given.is_null()) return given.to_double();
  if (kind == K::longrope)
    return r.factor <= 1 ? 1.0 : std::sqrt(1 + std::log(r.factor) / std::log(r.original));
  const Json m = o.value("mscale"), all = o.value("mscale_all_dim");
  if (!m.is_null() && !all.is_null())
    return yarn_scale(r.factor, m.to_double()) / yarn_scale(r.factor, all.to_double());
  return yarn_scale(r.factor, 1);
}

std::vector<double> divisors(const Options& o, const char* name) {
  std::vector<double> out;
  const Json list = o.value(name);
  for (const Json& x : list.as_list()) {
    out.push_back(x.to_double());
    if (!(out.back() > 0)) o.fail(name, "must be a list of positive numbers");
  }
  return out;
}

std::vector<std::int64_t> sections(const Options& o) {
  std::vector<std::int64_t> out;
  const Json list = o.value("mrope_section");
  for (const Json& x : list.as_list()) {
    out.push_back(x.is_integer() ? x.to_int64().value_or(0) : 0);
    if (out.back() < 1) o.fail("mrope_section", "must be a list of positive integers");
  }
  return out;
}

}  // namespace

ResolvedRotary resolve_rotary(const Json& given) {
  ResolvedRotary r;
  if (given.is_null()) return r;
  const Json* name = given.find(kRotaryKey);
  const FamilyMember* member =
      name && name->is_string() ? rotary_scalings().find(name->as_string()) : nullptr;
  if (!member) {
    ErrorDetails details;
    details.parameter = kRotaryKey;
    if (name) details.value = name->brief();
    details.expected = "one of " + name_list(rotary_scalings().names());
    if (name && name->is_string())
      details.hint = did_you_mean(name->as_string(), rotary_scalings().names());
    const std::string text =
        (name ? "Unknown rope type " + name->brief()
         : given.contains("type")
             ? "Rope scaling has no 'rope_type', of which 'type' is the older name"
             : "Rope scaling has no 'rope_type'") +
        "; expected " + details.expected;
    throw InvalidArgument(text, std::move(details));
  }
  Json numbers = given;
  numbers.erase(kRotaryKey);
  const Options o(rotary_scalings(), *member, member->name, numbers);
  r.kind = static_cast<K>(member->kind);
  if (o.has("factor")) r.factor = o.real("factor");
  if (o.has("original_max_position_embeddings"))
    r.original = o.real("original_max_position_embeddings");
  if (o.has("attention_factor")) r.attention = attention_factor(o, r.kind, r);
  if (r.kind == K::yarn) {
    r.fast = o.real("beta_fast"), r.slow = o.real("beta_slow");
    r.truncate = o.boolean("truncate");
  }
  if (r.kind == K::llama3) {
    r.fast = o.real("high_freq_factor"), r.slow = o.real("low_freq_factor");
    if (!(r.slow < r.fast)) o.fail("high_freq_factor", "must be above low_freq_factor");
  }
  if (r.kind == K::longrope) {
    r.short_factor = divisors(o, "short_factor");
    r.long_factor = divisors(o, "long_factor");
    if (r.short_factor.size() != r.long_factor.size())
      o.fail("long_factor", "must have as many numbers as short_factor");
    if (r.original <= 1 && r.factor > 1)
      o.fail("original_max_position_embeddings", "must be above 1");
  }
  r.sections = sections(o);
  for (const auto& [option, order] : {std::pair("mrope_interleaved", RopeSections::interleaved),
                                      std::pair("mrope_axial", RopeSections::axial)}) {
    if (!o.boolean(option)) continue;
    if (r.sections.empty()) o.fail(option, "must be false without mrope_section");
    if (r.order != RopeSections::blocks) o.fail(option, "must be false with mrope_interleaved");
    r.order = order;
  }
  return r;
}

Component rotary_component(const ResolvedRotary& r, std::int64_t dims) {
  const auto refuse = [&](const char* name, std::int64_t found) {
    ErrorDetails details;
    details.parameter = std::string("rope_scaling.") + name;
    details.expected = std::to_string(dims / 2);
    const std::string text = std::string(name) + " is for " + std::to_string(found) +
                             " pairs of components; expected " + details.expected + ", as " +
                             std::to_string(dims) + " components of a head rotate";
    throw InvalidArgument(text, std::move(details));
  };
  const auto pairs = static_cast<std::int64_t>(r.short_factor.size());
  if (dims >= 0 && r.kind == K::longrope && pairs != dims / 2) refuse("short_factor", pairs);
  std::int64_t sum = 0;
  for (const std::int64_t n : r.sections) sum += n;
  if (dims >= 0 && !r.sections.empty() && sum != dims / 2) refuse("mrope_section", sum);
  Component component;
  component.add(static_cast<std::int64_t>(r.kind));
  component.add(r.factor);
  component.add(r.original);
  component.add(r.attention);
  component.add(r.fast);
  component.add(r.slow);
  component.add(std::int64_t{r.truncate});
  component.add(r.short_factor);
  component.add(r.long_factor);
  component.add(r.sections);
  component.add(static_cast<std::int64_t>(r.order));
  return component;
}

}  // namespace attn::schema
