// SPDX-License-Identifier: Apache-2.0
#include "core/schema/families/probability.hpp"

#include <algorithm>
#include <array>

#include "core/error/error.hpp"
#include "core/schema/families/constraint.hpp"
#include "core/schema/families/initializer.hpp"
#include "core/schema/families/regularizer.hpp"

namespace attn::schema {
namespace {

using K = ProbabilityKind;

constexpr double kSlopePenalty = -1e-4;
constexpr std::pair<double, double> kSlopeInterval{1.0, 50.0};
constexpr ProbabilityOptions kDefaults;

std::string text(double x) { return Json(x).dump(); }

// Options of a config; a kind that is not named here has its axis.
std::vector<Option> options_of(K kind) {
  switch (kind) {
    case K::threshmax:
      return threshmax_options();
    case K::adaptive:
      return adaptive_options();
    default:
      return {{"axis", kind == K::softmax ? OptionKind::axes : OptionKind::axis, Range::any, "-1"}};
  }
}

const Names& refused() {
  static const Names names = {"routing", "deterministic_routing", "hierarchical",
                              "hierarchical_routing"};
  return names;
}

bool is_ones(const Json& initializer) {
  const Json* class_name = initializer.is_object() ? initializer.find("class_name") : &initializer;
  if (class_name == nullptr || !class_name->is_string()) return false;
  const FamilyMember* member = initializers().find(class_name->as_string());
  return member != nullptr && member->kind == static_cast<int>(InitializerKind::kOnes);
}

std::vector<std::int64_t> score_axes(const Options& options, std::string_view name) {
  const std::vector<std::int64_t> given = options.axes("axis");
  for (const std::int64_t axis : given) {
    if (axis < -kScoreRank || axis >= kScoreRank) options.fail("axis", "must be between -3 and 3");
    if (axis == -kScoreRank) options.fail("axis", "must not be the batch axis");
  }
  try {
    return negative_axes(given, kScoreRank, name);
  } catch (const InvalidArgument&) {
    options.fail("axis", "must not name an axis twice");
  }
}

}  // namespace

std::vector<Option> threshmax_options() {
  return {{"axis", OptionKind::axis, Range::any, "-1"},
          {"slope", OptionKind::real, Range::positive, text(kDefaults.slope)},
          {"epsilon", OptionKind::real, Range::positive, text(default_epsilon(K::threshmax))},
          {"trainable_slope", OptionKind::boolean, Range::any, "false"},
          {"slope_initializer", OptionKind::initializer, Range::any, "\"ones\""},
          {"slope_regularizer", OptionKind::regularizer, Range::any, "null", true},
          {"slope_constraint", OptionKind::constraint, Range::any, "null", true}};
}

std::vector<Option> adaptive_options() {
  const auto keras_only = [](const char* name, std::string def, bool nullable) {
    return Option{name,  OptionKind::real, Range::positive, std::move(def), nullable, {},
                  false, {"form", "keras"}};
  };
  return {{"form", OptionKind::text, Range::any, "\"keras\"", false, {"keras", "paper"}},
          keras_only("min_temp", text(kDefaults.min_temp), false),
          keras_only("max_temp", text(kDefaults.max_temp), false),
          {"entropy_threshold", OptionKind::real, Range::not_negative,
           text(kDefaults.entropy_threshold)},
          keras_only("eps", "null", true),
          // Empty: those of the form.
          {"polynomial_coeffs", OptionKind::reals, Range::any, "[]"}};
}

const Family& probabilities() {
  static const Family family = [] {
    Family f{"Probability type", "probability type", true};
    const auto add = [&](K kind, const char* name, const char* alias) {
      if (name == nullptr) return;
      FamilyMember& m = f.members.emplace_back(
          FamilyMember{.name = name, .kind = static_cast<int>(kind), .options = options_of(kind)});
      if (alias != nullptr) m.aliases.push_back(alias);
    };
#define ATTN_ADD(kind, number, name, alias) add(K::kind, name, alias);
    ATTN_PROBABILITIES(ATTN_ADD)
#undef ATTN_ADD
    return f;
  }();
  return family;
}

const FamilyMember& find_probability(std::string_view name) {
  if (const FamilyMember* member = probabilities().find(name)) return *member;
  ErrorDetails details;
  details.value = json_quoted(name);
  details.expected = "one of " + name_list(probabilities().names());
  const bool known =
      std::find(refused().begin(), refused().end(), lower_case(name)) != refused().end();
  if (known) {
    details.hint = "it needs features, not scores";
    throw InvalidArgument(
        "Probability type '" + std::string(name) + "' is not supported by attention layers",
        std::move(details));
  }
  details.hint = did_you_mean(name, probabilities().names());
  throw InvalidArgument("Unknown probability type '" + std::string(name) + "'", std::move(details));
}

Slope resolve_slope(const Options& options) {
  Slope slope;
  slope.value = options.real("slope");
  slope.trainable = options.boolean("trainable_slope");
  const Json initializer = options.value("slope_initializer");
  if (!is_ones(initializer)) slope.initializer = resolve_initializer(initializer);
  slope.regularizer = options.given("slope_regularizer")
                          ? resolve_regularizer(options.value("slope_regularizer"))
                          : l2_penalty(kSlopePenalty);
  slope.clip = options.given("slope_constraint")
                   ? resolve_constraint(options.value("slope_constraint"))
                   : std::optional(kSlopeInterval);
  return slope;
}

WeightDeclaration declare_slope(const Slope& slope, std::string name) {
  WeightDeclaration weight;
  weight.name = std::move(name);
  weight.initializer = slope.initializer.value_or(constant(slope.value));
  weight.trainable = slope.trainable;
  if (slope.trainable) weight.regularizer = slope.regularizer;
  weight.clip = slope.clip;
  return weight;
}

ResolvedProbability resolve_adaptive(const Options& options) {
  ResolvedProbability resolved;
  ProbabilityOptions& o = resolved.options;
  o.kind = options.value("form").as_string() == "paper" ? K::adaptive_paper : K::adaptive;
  o.min_temp = options.real("min_temp");
  o.max_temp = options.real("max_temp");
  if (o.max_temp < o.min_temp) {
    options.fail(options.given("max_temp") ? "max_temp" : "min_temp",
                 "must keep min_temp <= max_temp");
  }
  o.entropy_threshold = options.real("entropy_threshold");
  const Json eps = options.value("eps");
  o.epsilon = eps.is_null() ? default_epsilon(o.kind) : eps.to_double();
  const Json coefficients = options.value("polynomial_coeffs");
  for (const Json& c : coefficients.as_list()) resolved.coefficients.push_back(c.to_double());
  if (resolved.coefficients.empty()) {
    const auto own = default_polynomial(o.kind);
    resolved.coefficients.assign(own.begin(), own.end());
  }
  return resolved;
}

ResolvedProbability resolve_probability(std::string_view name, const Json& given,
                                        bool axis_forced) {
  const FamilyMember& member = find_probability(name);
  const Options options(probabilities(), member, name, given);
  const auto kind = static_cast<K>(member.kind);
  if (kind == K::adaptive) return resolve_adaptive(options);
  ResolvedProbability resolved;
  resolved.options.kind = kind;
  if (!axis_forced) resolved.axes = score_axes(options, name);
  if (kind == K::threshmax) {
    resolved.options.epsilon = options.real("epsilon");
    resolved.slope = resolve_slope(options);
  }
  return resolved;
}

Component probability_component(const ResolvedProbability& resolved) {
  const ProbabilityOptions& o = resolved.options;
  Component component;
  component.slots = kProbabilitySlots;
  if (resolved.axes != std::vector<std::int64_t>{-1}) component.flags = ATTN_COMPONENT_OTHER_AXIS;
  component.add(static_cast<std::int64_t>(o.kind));
  component.add(resolved.axes);
  component.add(o.epsilon);
  component.add(o.min_temp);
  component.add(o.max_temp);
  component.add(o.entropy_threshold);
  component.add(resolved.coefficients);
  if (o.kind == K::threshmax)
    component.weights.push_back(declare_slope(resolved.slope, "threshmax/slope"));
  return component;
}

}  // namespace attn::schema
