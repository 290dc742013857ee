// SPDX-License-Identifier: Apache-2.0
//
// Identity, building, weights and states. Calls: call.cpp; files: file.cpp.
#include "host/library/layer/layer.hpp"

#include <cstring>

#include "core/cpu/float_state.hpp"
#include "core/schema/input_names.hpp"
#include "core/schema/text.hpp"
#include "core/schema/value.hpp"
#include "core/tensor/strided.hpp"
#include "core/weights/regularizers.hpp"
#include "core/weights/seed.hpp"
#include "host/library/layer/context.hpp"
#include "host/library/layer/state.hpp"

namespace attn::host {

PluginLayer::PluginLayer(TypeSource source, const attn_value* values, Json config, std::string name)
    : source_(std::move(source)),
      config_(std::move(config)),
      name_(std::move(name)),
      layer_(*source_.type, values, name_, source_.library) {
  resolve_defaults(values);
  for (const schema::Captures::Table& t : layer_.tables())
    tables_.push_back(
        {t.name, program::extents_text(t.shape), static_cast<int>(t.shape.size()), t.whole});
}

// The config shows the numbers that the layer put in the place of nulls.
void PluginLayer::resolve_defaults(const attn_value* values) {
  const attn_type& t = type();
  std::vector<attn_value> all(values, values + t.n_params);
  const cpu::FloatGuard arithmetic;
  layer_.resolved(all.data());
  for (uint32_t i = 0; i < t.n_params; ++i)
    if (values[i].kind == ATTN_NULL && all[i].kind != ATTN_NULL)
      config_.set(t.params[i]->name, schema::to_json(*t.params[i], all[i]));
}

void PluginLayer::require_built() const {
  if (!built_.load())
    throw InvalidArgument(
        name_ +
            ": the layer has no weights yet; expected a built one; call build(), or forward once",
        {.where = name_, .type = source_.type->id});
}

void PluginLayer::build(const std::vector<std::optional<Shape>>& inputs,
                        const BuildOptions& options) {
  build(inputs, options, {});
}

void PluginLayer::build(const std::vector<std::optional<Shape>>& inputs,
                        const BuildOptions& options, const engine::Layer::Accept& accept) {
  const attn_type& t = type();
  if (inputs.size() > t.n_inputs)
    throw InvalidArgument(name_ + ": " + std::to_string(inputs.size()) +
                              " input shapes given; expected at most those of the type's inputs, " +
                              schema::name_list(schema::input_names(t)) +
                              "; leave out what is too many",
                          {.where = name_, .type = t.id, .hint = "leave out what is too many"});
  std::vector<attn_shape> shapes(t.n_inputs, attn_shape{});
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (!inputs[i]) continue;
    shapes[i].present = 1;
    shapes[i].rank = inputs[i]->rank();
    for (size_t k = 0; k < inputs[i]->size(); ++k) {
      shapes[i].dim[k] = (*inputs[i])[k];
      if (shapes[i].dim[k] < -1)
        throw InvalidArgument(name_ + ": the shape of input '" + t.inputs[i]->name + "' is " +
                                  inputs[i]->to_string() +
                                  "; expected extents, or -1 where unknown",
                              {.where = name_, .type = t.id, .parameter = t.inputs[i]->name});
    }
  }
  for (uint32_t i = 0; i < t.n_inputs; ++i)
    if (!shapes[i].present && !(t.inputs[i]->flags & ATTN_INPUT_OPTIONAL))
      throw InvalidArgument(
          name_ + ": the shape of input '" + t.inputs[i]->name + "' is missing; expected " +
              (t.inputs[i]->n_shapes > 0 ? schema::shapes_text(*t.inputs[i]) + ", " : "") +
              "-1 for extents that are not known",
          {.where = name_, .type = t.id, .parameter = t.inputs[i]->name});
  const std::lock_guard lock(build_mutex_);
  layer_.build(shapes, options.dtype, options.seed ? *options.seed : attn::weights::draw_seed(),
               accept, options.weights);
  built_.store(true);
}

engine::Weight& PluginLayer::find(std::string_view name) const {
  require_built();
  if (engine::Weight* w = layer_.find_weight(name); w && !(w->flags & ATTN_WEIGHT_NOT_STORED))
    return *w;
  std::vector<std::string> names;
  for (const engine::Weight& w : layer_.weights())
    if (!(w.flags & ATTN_WEIGHT_NOT_STORED)) names.push_back(w.name);
  const std::string near = schema::did_you_mean(name, names);
  throw InvalidArgument(name_ + ": no weight '" + std::string(name) + "'; " +
                            (names.empty() ? std::string("the layer has none")
                                           : "expected one of " + schema::name_list(names)) +
                            (near.empty() ? "" : "; " + near),
                        {.where = name_,
                         .type = type().id,
                         .parameter = std::string(name),
                         .expected = names.empty() ? "" : "one of " + schema::name_list(names),
                         .hint = near});
}

std::vector<WeightInfo> PluginLayer::weights() const {
  require_built();
  std::vector<WeightInfo> out;
  for (engine::Weight& w : layer_.weights()) {
    const size_t packed = w.compact_bytes();
    out.push_back({w.name, w.shape, (w.flags & ATTN_WEIGHT_TRAINABLE) != 0,
                   (w.flags & ATTN_WEIGHT_STATISTIC) != 0, (w.flags & ATTN_WEIGHT_NOT_STORED) != 0,
                   packed != 0 ? packed : w.value.bytes()});
  }
  return out;
}

ConstView PluginLayer::weight(std::string_view name) const {
  return const_cast<const engine::Weight&>(find(name)).value.view();
}

void PluginLayer::set_weight(std::string_view name, const ConstView& value) {
  engine::Weight& w = find(name);
  value.check(name_ + ": weight '" + w.name + "'");
  const bool scalar = w.shape.rank() == 0 && value.shape == Shape{1};
  if (value.shape != w.shape && !scalar)
    throw InvalidArgument(name_ + ": weight '" + w.name + "' has shape " + w.shape.to_string() +
                              ", got " + value.shape.to_string() + "; give a tensor of its shape",
                          {.where = name_, .parameter = w.name, .expected = w.shape.to_string()});
  const attn_dtype kind = w.value.dtype();
  if (dtype_is_floating(kind) ? !dtype_is_floating(value.dtype) : value.dtype != kind)
    throw InvalidArgument(
        name_ + ": weight '" + w.name + "' must be " +
            (dtype_is_floating(kind) ? std::string("floating") : std::string(dtype_name(kind))) +
            ", got " + std::string(dtype_name(value.dtype)) + "; convert it first",
        {.where = name_, .parameter = w.name});
  attn_view from = to_border(value);
  if (scalar) from.rank = 0;
  attn_view to = from;
  to.dtype = w.value.dtype();
  to.data = w.value.raw();
  set_dense_strides(to);
  const std::unique_lock lock(layer_.mutex());
  const cpu::FloatGuard arithmetic;
  copy_strided(from, to);
  w.version.fetch_add(1);
}

View PluginLayer::weight_memory(std::string_view name) {
  engine::Weight& w = find(name);
  w.version.fetch_add(1);
  return w.value.view();
}

std::vector<std::optional<Shape>> PluginLayer::built_for() const {
  require_built();
  std::vector<std::optional<Shape>> shapes;
  for (const attn_shape& s : layer_.build_shapes())
    shapes.push_back(s.present ? std::optional(Shape(s.dim, static_cast<size_t>(s.rank)))
                               : std::nullopt);
  return shapes;
}

std::vector<Penalty> PluginLayer::losses(const Context& ctx) const {
  require_built();
  std::vector<Penalty> out;
  for (const engine::Weight& w : layer_.weights()) {
    if (w.regularizer.kind == schema::RegularizerKind::kNone || !(w.flags & ATTN_WEIGHT_TRAINABLE))
      continue;
    out.push_back({w.name, attn::weights::penalty(w.regularizer, w.value.view(), w.name)});
  }
  for (const engine::Loss& l : ctx.impl().engine.losses()) out.push_back({l.name, l.value});
  return out;
}

bool PluginLayer::has_state() const {
  require_built();
  return !layer_.states().empty();
}

std::vector<StateInfo> PluginLayer::states() const {
  require_built();
  std::vector<StateInfo> out;
  for (const engine::StateDeclaration& d : layer_.states())
    out.push_back({d.name, d.shape, (d.flags & ATTN_STATE_HISTORY) != 0, d.max_len});
  return out;
}

std::unique_ptr<State> PluginLayer::make_state(int64_t batch, int64_t capacity,
                                               StorageKind histories) const {
  require_built();
  if (layer_.states().empty())
    throw InvalidArgument(name_ + ": type '" + type().id +
                              "' keeps no state; expected a layer whose has_state() is true; call "
                              "this one with whole sequences, without a state",
                          {.where = name_, .type = type().id});
  return std::make_unique<LayerState>(
      engine::State(layer_.id(), layer_.states(), layer_.dtype(), batch, capacity, histories));
}

}  // namespace attn::host

namespace attn {

Gradients::Gradients(const Attention& layer) {
  for (const WeightInfo& w : layer.weights()) {
    Entry& e = entries_.emplace_back();
    e.name = w.name;
    e.trained = w.trainable;
    if (w.trainable) e.gradient = Array(layer.dtype(), w.shape);
  }
}

void Gradients::zero() {
  for (Entry& e : entries_)
    if (e.trained) std::memset(e.gradient.raw(), 0, e.gradient.bytes());
}

Array* Gradients::weight(std::string_view name) {
  for (Entry& e : entries_)
    if (e.trained && e.name == name) return &e.gradient;
  return nullptr;
}
const Array* Gradients::weight(std::string_view name) const {
  return const_cast<Gradients*>(this)->weight(name);
}

Array Attention::forward(std::initializer_list<Input> inputs, const CallOptions& options) {
  return std::move(forward_all({inputs.begin(), inputs.size()}, options).front().value);
}

}  // namespace attn
