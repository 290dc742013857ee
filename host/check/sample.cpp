// SPDX-License-Identifier: Apache-2.0
//
// Calls that a type accepts, found from its schema alone: a small config, tensors of the shapes that inputs name,
// arguments that it cannot do without.
#include <attn/error.hpp>
#include <attn/factory.hpp>

#include <algorithm>
#include <map>

#include "core/schema/text.hpp"
#include "host/check/generator/generator.hpp"
#include "host/check/subject.hpp"
#include "host/check/test.hpp"
#include "host/check/values.hpp"
#include "host/cli/types.hpp"

namespace attn::check {
namespace {

// A parameter as layers of this config use it; null: there is none of that name.
Json config_value(const attn_type& type, const Json& config, const std::string& name) {
  for (uint32_t i = 0; i < type.n_params; ++i) {
    const attn_param& p = *type.params[i];
    if (name != p.name) continue;
    if (const Json* given = config.find(name)) return *given;
    if (p.def.kind == ATTN_VALUE_I64) return p.def.u.i;
  }
  return nullptr;
}

// Extents by name, for one call.
class Axes {
 public:
  Axes(const attn_type& type, const Json& config, const Sizes& sizes)
      : type_(type), config_(config), sizes_(sizes) {}

  Shape of_input(const char* text) {
    const std::vector<std::string> names = cli::extents(text);
    Shape shape;
    for (size_t i = 0; i < names.size(); ++i) {
      int64_t n = 0;
      if (i == 0)
        n = sizes_.batch;
      else if (const Json p = config_value(type_, config_, names[i]); p.is_integer())
        n = std::max<int64_t>(1, p.to_int64().value_or(1));
      else if (i + 1 == names.size())
        n = known(names[i], widths_++ == 0 ? 16 : 12);
      else if (i + 2 < names.size())
        n = known(names[i], 3);
      else
        n = known(names[i], first_ ? sizes_.length : sizes_.keys);
      shape.push_back(n);
    }
    if (first_) queries_ = positions(shape);
    keys_ = positions(shape);
    first_ = false;
    return shape;
  }

  Shape of_mask(const char* text) const {
    Shape shape;
    for (const std::string& name : cli::extents(text)) {
      int64_t n = keys_;
      if (name == "batch")
        n = sizes_.batch;
      else if (name.starts_with("head"))
        n = config_value(type_, config_, "num_heads").to_int64().value_or(1);
      else if (name.starts_with("q"))
        n = queries_;
      shape.push_back(n);
    }
    return shape;
  }

  [[nodiscard]] int64_t queries() const { return queries_; }

 private:
  static int64_t positions(const Shape& shape) {
    int64_t n = 1;
    for (size_t i = 1; i + 1 < shape.size(); ++i) n *= shape[i];
    return n;
  }
  int64_t known(const std::string& name, int64_t otherwise) {
    return known_.try_emplace(name, otherwise).first->second;
  }

  const attn_type& type_;
  const Json& config_;
  const Sizes& sizes_;
  std::map<std::string, int64_t> known_{};
  int64_t queries_ = 1, keys_ = 1, widths_ = 0;
  bool first_ = true;
};

void fill(Array& a, Random random) {
  for (int64_t i = 0; i < a.size(); ++i) a.data<float>()[i] = static_cast<float>(random.single());
}

// Some of it kept, the first key of each row always.
Array keep_mask(const Shape& shape, attn_dtype kind, Random random) {
  Array keep(ATTN_F32, shape);
  const int64_t keys = shape.empty() ? 1 : shape[shape.size() - 1];
  for (int64_t i = 0; i < keep.size(); ++i)
    keep.data<float>()[i] = i % keys == 0 || random.chance(0.7) ? 1 : 0;
  if (kind != ATTN_BOOL) return keep.astype(kind);
  Array out(ATTN_BOOL, shape);
  for (int64_t i = 0; i < keep.size(); ++i) out.data<bool>()[i] = keep.data<float>()[i] > 0;
  return out;
}

}  // namespace

const Array* Sample::find(std::string_view input) const {
  for (const NamedArray& t : tensors)
    if (t.name == input) return &t.value;
  return nullptr;
}
Array* Sample::find(std::string_view input) {
  return const_cast<Array*>(std::as_const(*this).find(input));
}

std::vector<Input> Sample::inputs() const {
  std::vector<Input> out;
  for (const NamedArray& t : tensors) out.emplace_back(t.name, t.value.view());
  return out;
}

std::vector<std::optional<Shape>> Sample::shapes() const {
  const attn_type& t = *find_attention_type(type).type;
  std::vector<std::optional<Shape>> out(t.n_inputs);
  for (uint32_t i = 0; i < t.n_inputs; ++i)
    if (const Array* a = find(t.inputs[i]->name)) out[i] = a->shape();
  return out;
}

Sample Sample::clone() const {
  Sample out{.type = type, .config = config, .arguments = arguments};
  for (const NamedArray& t : tensors) out.tensors.push_back({t.name, t.value.clone()});
  return out;
}

std::string Sample::text() const {
  std::string out = config.dump() + " with ";
  for (const NamedArray& t : tensors)
    out += (&t == tensors.data() ? "" : ", ") + t.name + " " + t.value.shape().to_string() +
           (t.value.dtype() == ATTN_F32 ? "" : " " + std::string(dtype_name(t.value.dtype())));
  for (const auto& [name, value] : arguments.as_object()) out += ", " + name + " = " + value.dump();
  return out;
}

std::optional<Sample> Subject::find_sample(const Json& config, const Sizes& sizes) {
  const attn_type& t = type();
  Sample sample{.type = t.id, .config = config};
  try {
    Axes axes(t, config, sizes);
    for (uint32_t i = 0; i < t.n_inputs; ++i) {
      const attn_input& in = *t.inputs[i];
      if ((in.flags & ATTN_INPUT_MASK) || in.n_shapes == 0 || !takes_numbers(in)) continue;
      if ((in.flags & ATTN_INPUT_OPTIONAL) && !sizes.optional) continue;
      Array value(ATTN_F32, axes.of_input(in.shapes[sizes.form < in.n_shapes ? sizes.form : 0]));
      fill(value, random(in.name));
      sample.tensors.push_back({in.name, std::move(value)});
    }
    for (uint32_t i = 0; i < t.n_inputs; ++i) {
      const attn_input& in = *t.inputs[i];
      if (sizes.mask != in.name) continue;
      if (sizes.mask_form >= std::max(1u, in.n_shapes)) return std::nullopt;
      const char* text = in.n_shapes ? in.shapes[sizes.mask_form] : "batch, key";
      sample.tensors.push_back(
          {in.name, keep_mask(axes.of_mask(text), sizes.mask_kind, random(in.name))});
    }
    // Arguments that must be given: one after the other, the first values that the type takes together.
    std::vector<const attn_param*> required;
    for (uint32_t i = 0; i < t.n_args; ++i)
      if (t.args[i]->flags & ATTN_PARAM_REQUIRED) required.push_back(t.args[i]);
    std::vector<std::vector<Json>> values;
    size_t all = 1;
    for (const attn_param* p : required) {
      values.push_back(argument_values(*p, axes.queries()));
      all *= values.back().size();
    }
    for (size_t n = 0; n < std::min<size_t>(all, 64); ++n) {
      size_t rest = n;
      for (size_t i = 0; i < required.size(); ++i) {
        sample.arguments.set(required[i]->name, values[i][rest % values[i].size()]);
        rest /= values[i].size();
      }
      try {
        const auto layer = create_attention_layer(sample.type, config);
        const cli::CallArguments arguments = sample.call_arguments();
        layer->build(sample.shapes(), {.seed = 1});
        static_cast<void>(layer->output_shapes(sample.inputs(), {.arguments = arguments.view()}));
        return sample;
      } catch (const InvalidArgument&) {
      }
    }
  } catch (const InvalidArgument&) {
  }
  return std::nullopt;
}

Sample Subject::sample(const Json& config, const Sizes& sizes) {
  doing("a call of " + config.dump());
  if (auto found = find_sample(config, sizes)) return *std::move(found);
  throw Skip("no call of these sizes is accepted: batch " + std::to_string(sizes.batch) +
             ", length " + std::to_string(sizes.length) +
             (sizes.mask.empty() ? "" : ", with " + sizes.mask) + ", config " + config.dump());
}

const Json& Subject::config() {
  if (!why_no_config().empty())
    throw Skip("no config is known that the type accepts: see has_a_config");
  return *config_;
}

std::string Subject::why_no_config() {
  if (config_) return "";
  if (given_config()) {
    validate_attention_config(id(), *given_config());
    config_ = given_config();
    return "";
  }
  const attn_type& t = type();
  doing("the search for a config that the type accepts");
  std::string refused;
  const auto accepted = [&](const Json& config) {
    try {
      validate_attention_config(t.id, config);
    } catch (const InvalidArgument& e) {
      refused = config.dump() + ": " + e.what();
      return false;
    }
    for (const int64_t length : {7, 8, 16, 4, 9, 1})
      if (find_sample(config, {.length = length})) return true;
    refused = config.dump() + ": no call is accepted";
    return false;
  };
  // All combinations of the first values of the required parameters; with small numbers for the others, then without.
  for (const bool small : {true, false}) {
    std::vector<std::pair<std::string, std::vector<Json>>> choices;
    for (uint32_t i = 0; i < t.n_params; ++i) {
      const attn_param& p = *t.params[i];
      if (p.flags & ATTN_PARAM_REQUIRED)
        choices.emplace_back(p.name, required_values(p));
      else if (auto value = small_value(p); value && (small || p.kind == ATTN_PARAM_SEED))
        choices.push_back({p.name, {*std::move(value)}});
    }
    constexpr size_t kMost = 2000;
    size_t all = 1;
    for (const auto& [name, values] : choices) all = std::min(kMost, all * values.size());
    for (size_t n = 0; n < all; ++n) {
      Json config = Json::object();
      size_t rest = n;
      for (const auto& [name, values] : choices) {
        config.set(name, values[rest % values.size()]);
        rest /= values.size();
      }
      if (!accepted(config)) continue;
      config_ = std::move(config);
      return "";
    }
  }
  return refused.empty() ? "none" : refused;
}

std::vector<Json> Subject::configs(size_t most) {
  const attn_type& t = type();
  const Json base = config();
  if (given_config()) return {};
  std::vector<std::vector<Json>> of;  // by parameter
  for (uint32_t i = 0; i < t.n_params; ++i) {
    std::vector<Json> taken;
    for (const Json& value : other_values(*t.params[i], config_value(t, base, t.params[i]->name))) {
      Json config = base;
      config.set(t.params[i]->name, value);
      if (taken.size() < 3 && find_sample(config)) taken.push_back(std::move(config));
    }
    of.push_back(std::move(taken));
  }
  std::vector<Json> out;
  for (size_t n = 0; n < 3; ++n)
    for (const std::vector<Json>& taken : of)
      if (n < taken.size() && out.size() < most) out.push_back(taken[n]);
  return out;
}

}  // namespace attn::check
