// SPDX-License-Identifier: Apache-2.0
#include "host/check/generator/call.hpp"

namespace attn::check {

Call::Call(Attention& layer, const Case& c, const Inputs& inputs, const CallSpec& spec,
           attn_dtype dtype)
    : layer_(layer), ctx_(dtype), spec_(spec) {
  const attn_type& type = layer.type();
  arrays_.reserve(inputs.size() + layer.tables().size());
  for (uint32_t i = 0; i < type.n_inputs; ++i) {
    const attn_input& in = *type.inputs[i];
    const auto it = inputs.find(in.name);
    if (it == inputs.end()) continue;
    const bool keeps = (in.flags & ATTN_INPUT_MASK) && !adds_mask(c);
    arrays_.push_back(to_array(it->second, !takes_numbers(in) ? ATTN_I64
                                           : keeps            ? c.mask_kind
                                                              : dtype));
    inputs_.emplace_back(in.name, arrays_.back().view());
  }
  for (const TableInfo& table : layer.tables()) {
    const Inputs& from = inputs.contains(table.name) ? inputs : c.problem.tables;
    const auto it = from.find(table.name);
    if (it == from.end()) continue;
    arrays_.push_back(to_array(it->second, table.whole ? ATTN_I32 : dtype));
    inputs_.emplace_back(table.name, arrays_.back().view());
  }
  for (const auto& [name, value] : spec.arguments.as_object())
    if (value.is_list()) {
      lists_.emplace_back();
      for (const Json& j : value.as_list()) lists_.back().push_back(*j.to_int64());
    }
  size_t list = 0;
  for (const auto& [name, value] : spec_.arguments.as_object()) {
    if (value.is_list())
      arguments_.emplace_back(name, std::span<const int64_t>(lists_[list++]));
    else if (value.is_bool())
      arguments_.emplace_back(name, value.as_bool());
    else if (value.is_integer())
      arguments_.emplace_back(name, *value.to_int64());
    else if (value.is_floating())
      arguments_.emplace_back(name, value.to_double());
  }
}

Outputs Call::run() {
  // Every call says beforehand what it gives, with a state and without one, and the saying changes nothing.
  const auto shapes = layer_.output_shapes(inputs_, options());
  layer_.forward(ctx_, inputs_, options());
  Outputs out;
  std::vector<std::pair<std::string, Shape>> given;
  const attn_type& type = layer_.type();
  for (uint32_t i = 0; i < type.n_outputs; ++i)
    if (const auto view = ctx_.output(type.outputs[i]->name)) {
      out[type.outputs[i]->name] = to_tensor(*view);
      given.emplace_back(type.outputs[i]->name, view->shape);
    }
  if (given != shapes) throw Failure("output_shapes() differs from the shapes of the call");
  return out;
}

void Call::backward(const Outputs& cotangents, Gradients& into, bool penalties) {
  std::vector<Array> arrays;
  std::vector<Input> given;
  arrays.reserve(cotangents.size());
  for (const auto& [name, value] : cotangents) {
    arrays.push_back(to_array(value, layer_.dtype()));
    given.emplace_back(name, arrays.back().view());
  }
  layer_.backward(ctx_, given, into, {.penalties = penalties});
}

Tensor Call::input_gradient(const std::string& name) const {
  const auto view = ctx_.input_gradient(name);
  return view ? to_tensor(*view) : Tensor{};
}

Inputs Call::inputs() const {
  Inputs out;
  for (const Input& in : inputs_) out[std::string(in.name)] = to_tensor(in.view);
  return out;
}

Outputs run(Attention& layer, const Case& c, const Inputs& inputs, const CallSpec& spec) {
  return Call(layer, c, inputs, spec).run();
}

CallSpec spec_of(const Case& c) {
  return {.training = c.problem.training, .seed = 3, .arguments = c.problem.arguments};
}

std::map<std::string, Tensor> weights_of(const Attention& layer) {
  std::map<std::string, Tensor> out;
  for (const WeightInfo& w : layer.weights())
    if (!w.not_stored) out[w.name] = to_tensor(layer.weight(w.name));
  return out;
}

}  // namespace attn::check
