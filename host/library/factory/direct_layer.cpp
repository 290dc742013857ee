// SPDX-License-Identifier: Apache-2.0
#include <attn/direct_layer.hpp>

#include "host/library/layer/construct.hpp"

namespace attn {

DirectLayer::DirectLayer(std::string_view type, const Json& parameters, std::string_view name)
    : layer_(host::construct(type, parameters, Json(name))) {}

const std::string& DirectLayer::name() const { return layer_->name(); }
const attn_type& DirectLayer::type() const { return layer_->type(); }
Json DirectLayer::config() const { return layer_->config(); }
const std::string& DirectLayer::library() const { return layer_->library(); }

void DirectLayer::build(const std::vector<std::optional<Shape>>& inputs,
                        const BuildOptions& options) {
  layer_->build(inputs, options);
}
bool DirectLayer::built() const { return layer_->built(); }
attn_dtype DirectLayer::dtype() const { return layer_->dtype(); }

std::vector<NamedOutput> DirectLayer::forward_all(std::span<const Input> inputs,
                                                  const CallOptions& options) {
  return layer_->forward_all(inputs, options);
}
void DirectLayer::forward(Context& ctx, std::span<const Input> inputs, const CallOptions& options,
                          std::span<const OutputMemory> outputs) {
  layer_->forward(ctx, inputs, options, outputs);
}
std::vector<std::pair<std::string, Shape>> DirectLayer::output_shapes(std::span<const Input> inputs,
                                                                      const CallOptions& options) {
  return layer_->output_shapes(inputs, options);
}
void DirectLayer::backward(Context& ctx, std::span<const Input> cotangents, Gradients& into,
                           const BackwardOptions& options) {
  layer_->backward(ctx, cotangents, into, options);
}
void DirectLayer::commit(Context& ctx) { layer_->commit(ctx); }
std::vector<Penalty> DirectLayer::losses(const Context& ctx) const { return layer_->losses(ctx); }

std::unique_ptr<State> DirectLayer::make_state(int64_t batch, int64_t capacity) const {
  return layer_->make_state(batch, capacity);
}
bool DirectLayer::has_state() const { return layer_->has_state(); }
std::vector<StateInfo> DirectLayer::states() const { return layer_->states(); }

std::vector<WeightInfo> DirectLayer::weights() const { return layer_->weights(); }
ConstView DirectLayer::weight(std::string_view name) const { return layer_->weight(name); }
void DirectLayer::set_weight(std::string_view name, const ConstView& value) {
  layer_->set_weight(name, value);
}

void DirectLayer::redraw(uint64_t seed) { layer_->redraw(seed); }

void DirectLayer::save(const std::string& path) const { layer_->save(path); }
void DirectLayer::load(const std::string& path) { layer_->load(path); }

}  // namespace attn
