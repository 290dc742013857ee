// SPDX-License-Identifier: Apache-2.0
#include "core/schema/families/activation.hpp"

#include <limits>

#include "core/error/error.hpp"
#include "core/schema/families/constraint.hpp"
#include "core/schema/families/initializer.hpp"
#include "core/schema/families/regularizer.hpp"

namespace attn::schema {
namespace {

using K = ActivationKind;

Option positive(const char* name, const char* def) {
  return {name, OptionKind::real, Range::positive, def};
}

FamilyMember plain(const char* name, K kind, std::vector<const char*> aliases = {}) {
  return {name, std::move(aliases), static_cast<int>(kind), {}};
}

std::vector<FamilyMember> make_members() {
  const Option axis{"axis", OptionKind::axis, Range::any, "-1"};
  const std::vector<Option> alpha = {
      {"alpha_initializer", OptionKind::initializer, Range::any, "\"zeros\""},
      {"alpha_regularizer", OptionKind::regularizer, Range::any, "null", true},
      {"alpha_constraint", OptionKind::constraint, Range::any, "null", true}};
  const auto with = [](const char* name, K kind, std::vector<Option> options) {
    return FamilyMember{name, {}, static_cast<int>(kind), std::move(options)};
  };
  return {
      plain("linear", K::linear),
      plain("sigmoid", K::sigmoid),
      plain("tanh", K::tanh),
      with("relu", K::relu,
           {{"max_value", OptionKind::real, Range::not_negative, "null", true},
            {"negative_slope", OptionKind::real, Range::not_negative, "0.0"},
            {"threshold", OptionKind::real, Range::not_negative, "0.0"}}),
      plain("relu6", K::relu),
      with("relu_k", K::relu_k, {{"k", OptionKind::integer, Range::positive, "3"}}),
      plain("leaky_relu", K::relu),
      plain("elu", K::elu, {"celu"}),
      plain("selu", K::selu),
      plain("elu_plus_one", K::elu_plus_one),
      plain("gelu", K::gelu),
      plain("silu", K::silu, {"swish", "basis_function"}),
      plain("mish", K::mish),
      with("saturated_mish", K::saturated_mish,
           {positive("alpha", "3.0"), positive("beta", "0.5")}),
      with("golu", K::golu,
           {positive("alpha", "1.0"), positive("beta", "1.0"), positive("gamma", "1.0")}),
      plain("hard_sigmoid", K::hard_sigmoid),
      plain("hard_swish", K::hard_swish, {"hard_silu"}),
      plain("hard_tanh", K::hard_tanh),
      plain("hard_shrink", K::hard_shrink),
      plain("soft_shrink", K::soft_shrink),
      plain("tanh_shrink", K::tanh_shrink),
      plain("softplus", K::softplus),
      plain("softsign", K::softsign),
      plain("sparse_plus", K::sparse_plus),
      plain("sparse_sigmoid", K::sparse_sigmoid),
      plain("squareplus", K::squareplus),
      plain("log_sigmoid", K::log_sigmoid),
      plain("exponential", K::exponential),
      with("xatlu", K::xatlu, alpha),
      with("xgelu", K::xgelu, alpha),
      with("xsilu", K::xsilu, alpha),
      with("differentiable_step", K::differentiable_step,
           {{"axis", OptionKind::axis, Range::any, "-1", true},
            {"slope_initializer", OptionKind::initializer, Range::any, "\"ones\""},
            {"shift_initializer", OptionKind::initializer, Range::any, "\"zeros\""},
            {"shift_regularizer", OptionKind::regularizer, Range::any, "null", true},
            {"shift_constraint", OptionKind::constraint, Range::any, "null", true}}),
      plain("softmax", K::softmax),
      plain("log_softmax", K::log_softmax),
      with("sparsemax", K::sparsemax, {axis}),
      with("adaptive_softmax", K::adaptive, adaptive_options()),
      with("thresh_max", K::threshmax, threshmax_options()),
      with("squash", K::squash, {axis, positive("epsilon", "1e-7")}),
  };
}

std::vector<double> constants_of(std::string_view name, K kind, const Options& options) {
  switch (kind) {
    case K::relu: {
      if (name == "relu6") return {6.0, 0.0, 0.0};
      const double none = std::numeric_limits<double>::infinity();
      if (name == "leaky_relu") return {none, 0.2, 0.0};
      const Json max = options.value("max_value");
      return {max.is_null() ? none : max.to_double(), options.real("negative_slope"),
              options.real("threshold")};
    }
    case K::relu_k:
      return {options.real("k")};
    case K::saturated_mish:
      return {options.real("alpha"), options.real("beta")};
    case K::golu:
      return {options.real("alpha"), options.real("beta"), options.real("gamma")};
    case K::threshmax:
    case K::squash:
      return {options.real("epsilon")};
    case K::adaptive: {
      const ResolvedProbability a = resolve_adaptive(options);
      const ProbabilityOptions& o = a.options;
      std::vector<double> constants = {o.min_temp, o.max_temp, o.entropy_threshold, o.epsilon};
      constants.insert(constants.end(), a.coefficients.begin(), a.coefficients.end());
      return constants;
    }
    default:
      return {};
  }
}

// After each step an optimiser clips a step's slope to [1, 10] and its shift to [-1, 1]; its steepness is
// rewarded, its shift charged.
constexpr std::pair<double, double> kStepSlope{1.0, 10.0}, kStepShift{-1.0, 1.0};
constexpr double kStepPenalty = 1e-3;

std::vector<ResolvedActivation::Weight> weights_of(K kind, const Options& options) {
  switch (kind) {
    case K::xatlu:
    case K::xgelu:
    case K::xsilu:
      return {{"alpha", resolve_initializer(options.value("alpha_initializer")),
               resolve_regularizer(options.value("alpha_regularizer")),
               resolve_constraint(options.value("alpha_constraint"))}};
    case K::differentiable_step: {
      ResolvedActivation::Weight slope{"slope",
                                       resolve_initializer(options.value("slope_initializer")),
                                       l2_penalty(-kStepPenalty), kStepSlope};
      ResolvedActivation::Weight shift{"shift",
                                       resolve_initializer(options.value("shift_initializer")),
                                       l2_penalty(kStepPenalty), kStepShift};
      if (options.given("shift_regularizer")) {
        shift.regularizer = resolve_regularizer(options.value("shift_regularizer"));
      }
      if (options.given("shift_constraint"))
        shift.clip = resolve_constraint(options.value("shift_constraint"));
      return {std::move(slope), std::move(shift)};
    }
    case K::threshmax: {
      WeightDeclaration slope = declare_slope(resolve_slope(options), "slope");
      return {{"slope", slope.initializer, slope.regularizer, slope.clip, slope.trainable}};
    }
    default:
      return {};
  }
}

}  // namespace

const Family& activations() {
  static const Family family{"Activation", "activation", false, make_members()};
  return family;
}

const FamilyMember& find_activation(std::string_view name) {
  if (const FamilyMember* member = activations().find(name)) return *member;
  ErrorDetails details;
  details.value = json_quoted(name);
  details.expected = "one of " + name_list(sorted(activations().names()));
  details.hint = did_you_mean(name, activations().names());
  throw InvalidArgument("Unknown activation '" + std::string(name) + "'", std::move(details));
}

ResolvedActivation resolve_activation(const Json& given_name, const Json& given) {
  const std::string name = given_name.is_null() ? "linear" : given_name.as_string();
  const FamilyMember& member = find_activation(name);
  const Options options(activations(), member, name, given);
  ResolvedActivation resolved;
  resolved.kind = static_cast<K>(member.kind);
  resolved.constants = constants_of(member.name, resolved.kind, options);
  if (resolved.kind == K::adaptive &&
      resolve_adaptive(options).options.kind == ProbabilityKind::adaptive_paper)
    resolved.kind = K::adaptive_paper;
  if (options.has("axis")) {
    resolved.axis.reset();
    if (!options.value("axis").is_null()) resolved.axis = options.axes("axis").front();
  }
  resolved.weights = weights_of(resolved.kind, options);
  return resolved;
}

Component activation_component(const ResolvedActivation& resolved, const attn_shape& input,
                               std::string_view site) {
  Component component;
  component.slots = kActivationSlots;
  if (resolved.kind == K::linear) component.flags = ATTN_COMPONENT_NONE;
  std::int64_t axis = -1;
  if (resolved.axis.value_or(-1) != -1)
    axis = negative_axes({*resolved.axis}, input.rank, site).front();
  if (!is_elementwise(resolved.kind) && axis != -1)
    component.flags |= ATTN_COMPONENT_MIXES_POSITIONS;
  component.add(static_cast<std::int64_t>(resolved.kind));
  component.add(resolved.constants);
  component.add(axis);
  std::vector<std::int64_t> shape;
  if (resolved.kind == K::differentiable_step && resolved.axis) {
    shape.assign(static_cast<std::size_t>(input.rank), 1);
    shape[static_cast<std::size_t>(input.rank + axis)] = known_extent(input, axis, site);
    if (axis != -1) component.flags |= ATTN_COMPONENT_BY_POSITION;
  }
  for (std::size_t slot = 0; slot < resolved.weights.size(); ++slot) {
    const ResolvedActivation::Weight& given = resolved.weights[slot];
    component.weights.push_back({static_cast<int>(slot), given.name, shape, given.initializer,
                                 given.regularizer, given.trainable, false, given.clip});
  }
  return component;
}

}  // namespace attn::schema
