// SPDX-License-Identifier: Apache-2.0
//
// The table of norms: names, options, and what the options say about the weights.
#include "core/schema/families/norm.hpp"

#include <algorithm>

#include "core/error/error.hpp"
#include "core/schema/families/constraint.hpp"
#include "core/schema/families/initializer.hpp"
#include "core/schema/families/regularizer.hpp"

namespace attn::schema {
namespace {

using K = NormKind;

constexpr double kBandPenalty = 1e-5;  // of band_param unless the options say otherwise
constexpr double kSmallestEnergyScale = 1e-3;

const Option kAxis{"axis", OptionKind::axis, Range::any, "-1"};
const Option kAxes{"axis", OptionKind::axes, Range::any, "-1"};
const Option kEpsilon{"epsilon", OptionKind::real, Range::positive, "1e-6"};

Option flag(const char* name) { return {name, OptionKind::boolean, Range::any, "true"}; }
Option initializer(const char* name, const char* def) {
  return {name, OptionKind::initializer, Range::any, def};
}
Option regularizer(const char* name) {
  return {name, OptionKind::regularizer, Range::any, "null", true};
}
Option no_constraint(const char* name) {
  return {name, OptionKind::nothing, Range::any, "null", true};
}

FamilyMember member(const char* name, K kind, std::vector<Option> options,
                    std::vector<const char*> aliases = {}) {
  // Every norm takes these two, as every layer of Keras does. The name is set by the owner.
  options.push_back({"trainable", OptionKind::boolean, Range::any, "true"});
  options.push_back({"dtype", OptionKind::text, Range::any, "\"float32\"", true, {"float32"}});
  return {name, std::move(aliases), static_cast<int>(kind), std::move(options)};
}

std::vector<FamilyMember> make_members() {
  const Option momentum{"momentum", OptionKind::real, Range::unit, "0.99"};
  const Option temperature{"temperature", OptionKind::real, Range::positive, "0.04"};
  const auto width = [](const char* def) {
    return Option{"max_band_width", OptionKind::real, Range::open_unit, def};
  };
  const std::vector<Option> layer = {kAxes,
                                     kEpsilon,
                                     flag("center"),
                                     flag("scale"),
                                     initializer("beta_initializer", "\"zeros\""),
                                     initializer("gamma_initializer", "\"ones\""),
                                     regularizer("beta_regularizer"),
                                     regularizer("gamma_regularizer"),
                                     no_constraint("beta_constraint"),
                                     no_constraint("gamma_constraint")};
  const std::vector<Option> batch = {kAxis,
                                     kEpsilon,
                                     momentum,
                                     flag("center"),
                                     flag("scale"),
                                     initializer("beta_initializer", "\"zeros\""),
                                     initializer("gamma_initializer", "\"ones\""),
                                     initializer("moving_mean_initializer", "\"zeros\""),
                                     initializer("moving_variance_initializer", "\"ones\""),
                                     regularizer("beta_regularizer"),
                                     regularizer("gamma_regularizer"),
                                     no_constraint("beta_constraint"),
                                     no_constraint("gamma_constraint")};
  const std::vector<Option> rms = {kAxes, kEpsilon, flag("use_scale"),
                                   initializer("scale_initializer", "\"ones\"")};
  const std::vector<Option> band = {width("0.1"),
                                    kAxes,
                                    kEpsilon,
                                    initializer("band_initializer", "\"zeros\""),
                                    regularizer("band_regularizer"),
                                    no_constraint("band_constraint")};
  FamilyMember short_layer = member("layer", K::layer, layer);
  FamilyMember short_batch = member("batch", K::batch, batch);
  short_layer.extra = short_batch.extra = true;
  return {
      member("layer_norm", K::layer, layer),
      member("rms_norm", K::rms, rms),
      member("zero_centered_rms_norm", K::zero_centered_rms, rms),
      member("band_rms", K::band_rms, band),
      member("zero_centered_band_rms_norm", K::zero_centered_band_rms, band),
      member("adaptive_band_rms", K::adaptive_band_rms, band),
      member("zero_centered_adaptive_band_rms_norm", K::zero_centered_adaptive_band_rms, band),
      member("band_logit_norm", K::band_logit, {width("0.01"), kAxis, kEpsilon}),
      member("logit_norm", K::logit, {temperature, kAxis, kEpsilon}),
      member("max_logit_norm", K::max_logit, {kAxis, kEpsilon}),
      member("global_response_norm", K::global_response,
             {{"eps", OptionKind::real, Range::positive, "1e-6"},
              kEpsilon,
              flag("use_beta"),
              initializer("gamma_initializer", "\"ones\""),
              initializer("beta_initializer", "\"zeros\""),
              regularizer("gamma_regularizer"),
              regularizer("beta_regularizer")}),
      member("dynamic_tanh", K::dynamic_tanh,
             {kAxes,
              {"alpha_init_value", OptionKind::real, Range::positive, "0.5"},
              {"epsilon", OptionKind::real, Range::any, "1e-6"},
              initializer("kernel_initializer", "\"ones\""),
              initializer("bias_initializer", "\"zeros\""),
              regularizer("kernel_regularizer"),
              regularizer("bias_regularizer"),
              no_constraint("kernel_constraint"),
              no_constraint("bias_constraint")}),
      member("energy_layer_norm", K::energy_layer,
             {kEpsilon,
              initializer("gamma_initializer", "\"ones\""),
              initializer("delta_initializer", "\"zeros\""),
              {"gamma_constraint", OptionKind::constraint, Range::any, "null", true}}),
      member("batch_norm", K::batch, batch),
      member("bias_free_batch_norm", K::bias_free_batch,
             {kAxis, kEpsilon, momentum, flag("use_scale")}),
      std::move(short_layer),
      std::move(short_batch),
  };
}

const Names& refused() {
  static const Names names = {"decoupled_max_logit", "dml_plus_focal", "dml_plus_center"};
  return names;
}

using Weight = ResolvedNorm::Weight;

// The weight whose options begin with `stem`, unless `switched` turns it off.
std::optional<Weight> weight(const Options& options, const std::string& stem,
                             const char* switched = nullptr) {
  if (switched != nullptr && !options.boolean(switched)) return std::nullopt;
  Weight result;
  const std::string initializer_name = stem + "_initializer",
                    regularizer_name = stem + "_regularizer";
  if (options.has(initializer_name))
    result.initializer = resolve_initializer(options.value(initializer_name));
  if (options.has(regularizer_name))
    result.regularizer = resolve_regularizer(options.value(regularizer_name));
  return result;
}

Weight fixed(double value) { return {constant(value), {}, {}}; }

std::vector<std::optional<Weight>> weights_of(K kind, const Options& options) {
  switch (kind) {
    case K::layer:
      return {weight(options, "gamma", "scale"), weight(options, "beta", "center")};
    case K::rms:
    case K::zero_centered_rms:
      return {weight(options, "scale", "use_scale")};
    case K::band_rms:
    case K::zero_centered_band_rms: {
      std::optional<Weight> band = weight(options, "band");
      if (options.value("band_regularizer").is_null()) band->regularizer = l2_penalty(kBandPenalty);
      return {std::move(band)};
    }
    case K::adaptive_band_rms:
    case K::zero_centered_adaptive_band_rms:
      return {weight(options, "band"), fixed(0.0)};
    case K::band_logit:
      return {fixed(1.0), fixed(0.0)};
    case K::global_response:
      return {weight(options, "gamma"), weight(options, "beta", "use_beta")};
    case K::dynamic_tanh:
      return {weight(options, "kernel"), weight(options, "bias"),
              fixed(options.real("alpha_init_value"))};
    case K::energy_layer: {
      std::optional<Weight> gamma = weight(options, "gamma");
      gamma->clip = options.given("gamma_constraint")
                        ? resolve_constraint(options.value("gamma_constraint"))
                        : std::optional(std::make_pair(kSmallestEnergyScale,
                                                       std::numeric_limits<double>::infinity()));
      return {std::move(gamma), weight(options, "delta")};
    }
    case K::batch:
      return {weight(options, "gamma", "scale"), weight(options, "beta", "center"),
              weight(options, "moving_mean"), weight(options, "moving_variance")};
    case K::bias_free_batch: {
      std::optional<Weight> gamma;
      if (options.boolean("use_scale")) gamma = fixed(1.0);
      return {std::move(gamma), std::nullopt, std::nullopt, fixed(1.0)};
    }
    case K::none:
    case K::logit:
    case K::max_logit:
      return {};
  }
  return {};
}

double constant_of(K kind, const Options& options) {
  if (options.has("max_band_width")) return options.real("max_band_width");
  if (kind == K::logit) return options.real("temperature");
  if (has_statistics(kind)) return options.real("momentum");
  return 0.0;
}

}  // namespace

const Family& norms() {
  static const Family family{"Normalization type", "normalization type", false, make_members()};
  return family;
}

const FamilyMember& find_norm(std::string_view name) {
  if (const FamilyMember* found = norms().find(name)) return *found;
  ErrorDetails details;
  details.value = json_quoted(name);
  details.expected = "one of " + name_list(sorted(norms().names()));
  if (std::find(refused().begin(), refused().end(), name) != refused().end()) {
    throw InvalidArgument("Normalization type '" + std::string(name) +
                              "' does not preserve the shape and cannot be used here",
                          std::move(details));
  }
  details.hint = did_you_mean(name, norms().names());
  throw InvalidArgument("Unknown normalization type '" + std::string(name) + "'",
                        std::move(details));
}

ResolvedNorm resolve_norm(const Json& name, const Json& given) {
  ResolvedNorm resolved;
  if (name.is_null()) return resolved;
  const FamilyMember& found = find_norm(name.as_string());
  const Options options(norms(), found, name.as_string(), given);
  resolved.kind = static_cast<K>(found.kind);
  if (options.has("axis")) resolved.axes = options.axes("axis");
  if (options.has("eps") && options.given("eps")) {
    resolved.epsilon = options.real("eps");
  } else {
    resolved.epsilon = options.real("epsilon");
  }
  resolved.constant = constant_of(resolved.kind, options);
  resolved.trainable = options.boolean("trainable");
  resolved.weights = weights_of(resolved.kind, options);
  return resolved;
}

}  // namespace attn::schema
