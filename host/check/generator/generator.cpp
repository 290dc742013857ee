// SPDX-License-Identifier: Apache-2.0
#include "host/check/generator/generator.hpp"

#include <attn/factory.hpp>

#include "host/check/generator/arrays.hpp"
#include "host/check/generator/call.hpp"

namespace attn::check {
namespace {

constexpr int kAttempts = 4000;

std::unique_ptr<Attention> build(const Case& c, attn_dtype dtype) {
  auto layer = create_attention_layer(c.id.type, c.problem.config);
  layer->build(shapes_of(c), {.dtype = dtype, .seed = 1});
  return layer;
}

// In training a rate of dropout is 0 or, where that is a rate, 1: what lies between is random.
void settle_dropout(Case& c, Random& random) {
  const attn_type& type = *find_attention_type(c.id.type).type;
  for (uint32_t i = 0; i < type.n_params; ++i) {
    const attn_param& p = *type.params[i];
    if (p.kind != ATTN_PARAM_REAL || std::string(p.name).find("dropout") == std::string::npos)
      continue;
    for (uint32_t a = 0; a < p.n_aliases; ++a) c.problem.config.erase(p.aliases[a]);
    c.problem.config.erase(p.name);
    if (!(p.flags & ATTN_PARAM_EXCLUSIVE_MAX) && random.chance(0.15))
      c.problem.config.set(p.name, 1.0);
  }
}

// Long inputs must not cost seconds.
void cheapen(Case& c) {
  if (!c.is_long) return;
  // The whole spectrum falls below this: no decomposition of a large matrix.
  if (has_parameter(*find_attention_type(c.id.type).type, "svd_threshold"))
    c.problem.config.set("svd_threshold", 1e9);
  // More than two are a default. A mask for each of eight has ten million elements.
  const Json heads = parameter(c, "num_heads");
  if (heads.is_integer() && *heads.to_int64() > 2) c.problem.config.set("num_heads", 2);
}

bool is_kernel(const std::string& name) {
  return name.ends_with("/kernel") || name == "vertical_aggregation_weights" ||
         name.ends_with("relative_position_bias_table");
}

// A number near what the layer begins with, far enough from it that the weight matters.
double draw(const WeightInfo& w, double initial, Random& random) {
  if (w.name.ends_with("slope")) return static_cast<float>(random.uniform(1, 8));
  if (w.statistic && w.name.find("var") != std::string::npos)
    return static_cast<float>(random.uniform(0.3, 2));
  if (is_kernel(w.name) && w.shape.size() >= 2) {
    // Results of the size of the inputs.
    const int64_t fan_in = w.shape.elements() / std::max<int64_t>(1, w.shape[w.shape.size() - 1]);
    return random.single(1.7 / std::sqrt(static_cast<double>(std::max<int64_t>(1, fan_in))));
  }
  return static_cast<float>(std::clamp(initial, -2.0, 2.0) + random.uniform(-0.5, 0.5));
}

}  // namespace

std::vector<std::optional<Shape>> shapes_of(const Case& c) {
  const attn_type& type = *find_attention_type(c.id.type).type;
  std::vector<std::optional<Shape>> shapes(type.n_inputs);
  for (uint32_t i = 0; i < type.n_inputs; ++i)
    if (const auto it = c.problem.inputs.find(type.inputs[i]->name); it != c.problem.inputs.end())
      shapes[i] = Shape(it->second.shape);
  return shapes;
}

bool drops(const Case& c) {
  const attn_type& type = *find_attention_type(c.id.type).type;
  for (uint32_t i = 0; i < type.n_params; ++i) {
    const std::string name = type.params[i]->name;
    if (name.find("dropout") == std::string::npos) continue;
    if (const Json rate = parameter(c, name); rate.is_number() && rate.to_double() > 0) return true;
  }
  return false;
}

std::string told(const Case& c) {
  std::string text = c.problem.config.dump() + ", call " + c.problem.arguments.dump() +
                     (c.problem.training ? " in training" : "");
  const attn_input* mask = declared_mask(c);
  for (const auto& [name, value] : c.problem.inputs)
    text += ", " + name + " " + Shape(value.shape).to_string() +
            (mask && name == mask->name ? " of " + std::string(dtype_name(c.mask_kind)) : "");
  return text;
}

Case make_case(const CaseId& id, const CaseOptions& options) {
  std::string refused;
  for (uint64_t attempt = 0; attempt < kAttempts; ++attempt) {
    Random random(id.seed, id.type, id.number * kAttempts + attempt);
    Case c{.id = id};
    c.is_long = !options.tiny && id.number % 40 == 7;
    c.is_tiny = options.tiny;
    c.problem.type = id.type;
    c.problem.training = !c.is_long && random.chance(0.25);
    if (options.config) {
      c.problem.config = *options.config;
      c.problem.training = c.problem.training && !drops(c);
    } else {
      // Choices that come in turn may exclude each other: after many draws the next ones are taken.
      const CaseId turn{id.seed, id.type, id.number + attempt / 500};
      c.problem.config = make_config(turn, random, c.is_long);
      if (c.problem.training) settle_dropout(c, random);
      cheapen(c);
    }
    c.weights = random.next();
    try {
      validate_attention_config(id.type, c.problem.config);
      make_call(c, random);
      // A regularizer that cannot take a weight says so here.
      const auto layer = build(c, ATTN_F64);
      static_cast<void>(layer->losses(Context(ATTN_F64)));
      // Arguments that do not go with the parameters.
      Call(*layer, c, c.problem.inputs, spec_of(c)).check();
    } catch (const InvalidArgument& e) {
      refused = c.problem.config.dump() + ": " + e.what();
      continue;
    }
    return c;
  }
  throw std::runtime_error(id.text() + ": no valid parameters found; the last refusal was " +
                           refused);
}

std::unique_ptr<Attention> make_layer(const Case& c, attn_dtype dtype, double noise,
                                      uint64_t draw_number) {
  auto layer = build(c, dtype);
  for (const WeightInfo& w : layer->weights()) {
    // A stored seed is no number of the layer's.
    if (w.not_stored || !dtype_is_floating(layer->weight(w.name).dtype)) continue;
    Tensor value = to_tensor(layer->weight(w.name));
    // What is drawn once and never trained stays as it was drawn.
    if (!w.name.starts_with("projection_")) {
      Random random(c.weights, w.name, 0);
      for (double& e : value.v) e = draw(w, e, random);
    }
    Random jitter(c.weights, w.name, draw_number);
    if (noise > 0)
      for (double& e : value.v) e *= 1 + jitter.uniform(-noise, noise);
    layer->set_weight(w.name, to_array(value, ATTN_F64).view());
  }
  return layer;
}

}  // namespace attn::check
