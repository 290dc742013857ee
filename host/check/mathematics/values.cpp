// SPDX-License-Identifier: Apache-2.0
//
// Numbers of any size, and the sums of attention maps.
#include <attn/error.hpp>
#include <attn/factory.hpp>

#include "host/check/mathematics/checks.hpp"

namespace attn::check {
namespace {

constexpr double kMost = std::numeric_limits<float>::max() / 16;

}  // namespace

bool grows(const Case& c) {
  // Features of queries, keys and values are multiplied, without a softmax that takes a maximum off.
  if (has_parameter(*find_attention_type(c.id.type).type, "feature_map")) return true;
  const std::string config = c.problem.config.dump();
  return config.find("relu_k") != std::string::npos ||
         config.find("exponential") != std::string::npos;
}

Inputs scaled(const Case& c, double by) {
  Inputs inputs = c.problem.inputs;
  for (auto& [name, t] : inputs)
    if (!is_mask(c, name))
      for (double& e : t.v) e *= by;
  return inputs;
}

Outputs everything(Attention& layer, const Case& c, const Inputs& inputs, bool of_weights) {
  CallSpec spec = spec_of(c);
  spec.record = true;
  Call call(layer, c, inputs, spec);
  Outputs found = call.run();
  Outputs cotangents;
  Random random(c.weights, "cotangents", 0);
  for (const auto& [name, t] : found) {
    cotangents[name] = Tensor(t.shape);
    for (double& x : cotangents[name].v) x = random.single();
  }
  Gradients gradients(layer);
  call.backward(cotangents, gradients);
  for (const auto& [name, t] : inputs)
    if (!is_mask(c, name))
      if (const Tensor g = call.input_gradient(name); !g.v.empty())
        found["gradient of " + name] = g;
  for (const auto& e : gradients.entries())
    if (e.trained && of_weights)
      found["gradient of weight " + e.name] = to_tensor(e.gradient.view());
  return found;
}

std::string not_finite(const Outputs& narrow, const Outputs& wide) {
  for (const auto& [name, t] : wide)
    for (size_t i = 0; i < t.v.size(); ++i) {
      if (!std::isfinite(t.v[i])) return name + "[" + std::to_string(i) + "] in float64";
      if (std::fabs(t.v[i]) <= kMost && !std::isfinite(narrow.at(name).v[i]))
        return name + "[" + std::to_string(i) + "] in float32, where float64 has " +
               std::to_string(t.v[i]);
    }
  return "";
}

bool check_large(Trial& t) {
  if (t.c.is_long || grows(t.c)) return false;
  for (const double scale : {1e2, 1e4}) {
    const Inputs inputs = scaled(t.c, scale);
    const std::string found = not_finite(everything(*t.layer32, t.c, inputs, true),
                                         everything(*t.layer64, t.c, inputs, true));
    if (found.empty()) continue;
    t.fail("inputs times " + Json(scale).dump() + " give a number that is not finite: " + found);
    break;
  }
  return true;
}

bool check_maps(Trial& t) {
  if (t.c.is_long || (t.c.problem.training && drops(t.c))) return false;
  const attn_type& type = t.layer64->type();
  bool chosen = false;
  for (uint32_t i = 0; i < type.n_params; ++i)
    chosen = chosen || type.params[i]->kind == ATTN_PARAM_PROBABILITY;
  // Nothing else says that its maps are probabilities.
  if (!chosen || !over_keys(t.c)) return false;
  Call call(*t.layer64, t.c, t.c.problem.inputs, spec_of(t.c));
  call.context().keep_maps(true);
  const Outputs found = call.run();
  if (largest_difference(found.at(output_of(*t.layer64)), t.expected.at(output_of(*t.layer64))) >
      t.allowed(*t.layer64, output_of(*t.layer64)))
    t.fail("keeping the attention map changes the result");
  // A sink takes its share; an option adds a little to what the weights are divided by.
  const Json sinks = parameter(t.c, "use_sinks");
  const Json config = parameter(t.c, "probability_config");
  const Json* epsilon = config.is_object() ? config.find("epsilon") : nullptr;
  const double less =
      sinks.is_bool() && sinks.as_bool()
          ? 1
          : 1e-6 + (epsilon && epsilon->is_number() ? 100 * epsilon->to_double() : 0);
  const std::vector<AttentionMap> maps = call.context().take_maps();
  for (const AttentionMap& map : maps) {
    const Tensor w = to_tensor(map.weights.view());
    const int64_t keys = w.dim(-1);
    for (int64_t row = 0; keys > 0 && row < w.size() / keys; ++row) {
      double sum = 0;
      for (int64_t k = 0; k < keys; ++k) sum += w.v[static_cast<size_t>(row * keys + k)];
      // Nothing to attend to: zeros.
      if ((sum >= 1 - less && sum <= 1 + 1e-6) || sum == 0) continue;
      t.fail("row " + std::to_string(row) + " of the attention map '" + map.label + "' sums to " +
             Json(sum).dump());
      break;
    }
  }
  return !maps.empty();
}

}  // namespace attn::check
