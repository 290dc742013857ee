// SPDX-License-Identifier: Apache-2.0
//
// A small layer of every type that is loaded, made from its schema: parameters that must be given, inputs by the
// names of their extents. Nine positions, three by three where they form a map, and no convolution mixes them.
#pragma once

#include <attn/attention.hpp>
#include <attn/factory.hpp>
#include <catch2/catch.hpp>

#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "host/check/generator/axis_names.hpp"

namespace attn::masks {

inline constexpr int64_t kBatch = 2, kTokens = 9, kWidth = 8;

inline const attn_type& type_of(const std::string& id) { return *find_attention_type(id).type; }

inline Json small_config(const attn_type& t) {
  static const std::map<std::string, int64_t> numbers{
      {"dim", kWidth},     {"channels", kWidth},      {"num_heads", 2},
      {"num_kv_heads", 2}, {"window_size", 3},        {"head_dim", 4},
      {"key_dim", 4},      {"kernel_size", 1},        {"attention_channels", 8},
      {"max_pcp_iter", 2}, {"nb_features", 8},        {"seed", 5},
      {"ratio", 2},        {"routing_iterations", 2}, {"kv_latent_dim", 4},
      {"v_head_dim", 4},   {"qk_nope_head_dim", 4},   {"qk_rope_head_dim", 4}};
  Json config = Json::object();
  for (uint32_t i = 0; i < t.n_params; ++i) {
    const attn_param& p = *t.params[i];
    if (const auto n = numbers.find(p.name); n != numbers.end()) config.set(p.name, n->second);
    // Nothing is drawn in training calls.
    if (p.kind == ATTN_PARAM_REAL && std::string(p.name).find("dropout") != std::string::npos)
      config.set(p.name, 0.0);
    if (std::string(p.name) == "attention_mode" && p.n_choices > 1)
      config.set(p.name, p.choices[p.n_choices - 1]);
  }
  return config;
}

inline Shape shape_of(const std::string& text) {
  std::vector<int64_t> dims;
  for (const std::string& word : check::axis_names(text))
    dims.push_back(word == "batch"                                     ? kBatch
                   : word == "head"                                    ? 2
                   : word == "seq" || word == "query" || word == "key" ? kTokens
                   : word == "height" || word == "width"               ? 3
                                                                       : kWidth);
  return Shape(dims);
}

inline Array noise(attn_dtype dtype, const Shape& shape, uint64_t seed, double scale = 1) {
  Array a(ATTN_F64, shape);
  std::mt19937_64 random(seed);
  for (int64_t i = 0; i < a.size(); ++i)
    a.data<double>()[i] =
        scale * (static_cast<float>(random() >> 40) * 0x1p-23F - 1.0F);  // exact in float32
  return a.astype(dtype);
}

// A call: inputs by name, arguments that must be given, and the ones of the test.
struct Call {
  std::map<std::string, Array> inputs{};
  std::vector<Argument> arguments{};
  bool training = false;
  State* state = nullptr;

  Call() = default;
  Call(const Call& o) : arguments(o.arguments), training(o.training), state(o.state) {
    for (const auto& [name, array] : o.inputs) inputs.emplace(name, array.clone());
  }
  Call& operator=(const Call&) = delete;
};

// The inputs of a type; `optional` takes the optional ones that are no masks, too.
inline Call small_call(const attn_type& t, attn_dtype dtype, bool optional) {
  Call call;
  for (uint32_t i = 0; i < t.n_inputs; ++i) {
    const attn_input& in = *t.inputs[i];
    if (in.flags & ATTN_INPUT_MASK || (in.flags & ATTN_INPUT_OPTIONAL && !optional)) continue;
    if (in.dtypes != 0 && !(in.dtypes >> ATTN_F32 & 1u)) continue;  // whole numbers
    call.inputs.emplace(in.name, noise(dtype, shape_of(in.shapes[0]), 10 + i));
  }
  static const std::vector<int64_t> halves{4, 5};
  for (uint32_t i = 0; i < t.n_args; ++i)
    if (t.args[i]->flags & ATTN_PARAM_REQUIRED)
      call.arguments.push_back(t.args[i]->kind == ATTN_PARAM_INTS
                                   ? Argument(t.args[i]->name, halves)
                                   : Argument(t.args[i]->name, int64_t{3}));
  return call;
}

// Built for these inputs; every weight gets noise, so that nothing is hidden by a zero or a one.
inline std::unique_ptr<Attention> small_layer(const attn_type& t, const Json& config,
                                              attn_dtype dtype, const Call& call) {
  auto layer = create_attention_layer(t.id, config);
  std::vector<std::optional<Shape>> shapes(t.n_inputs);
  for (uint32_t i = 0; i < t.n_inputs; ++i)
    if (const auto in = call.inputs.find(t.inputs[i]->name); in != call.inputs.end())
      shapes[i] = in->second.shape();
  layer->build(shapes, {.dtype = dtype, .seed = 3});
  uint64_t seed = 100;
  for (const WeightInfo& w : layer->weights()) {
    if (w.not_stored || !dtype_is_floating(layer->weight(w.name).dtype)) continue;
    Array value = Array::copy_of(layer->weight(w.name)).astype(ATTN_F64);
    const Array more = noise(ATTN_F64, value.shape(), ++seed, w.statistic ? 0.2 : 0.4);
    for (int64_t i = 0; i < value.size(); ++i) value.data<double>()[i] += more.data<double>()[i];
    layer->set_weight(w.name, value.view());
  }
  return layer;
}

inline std::vector<Input> inputs_of(const Call& call) {
  std::vector<Input> in;
  for (const auto& [name, array] : call.inputs) in.emplace_back(name, array.view());
  return in;
}

inline Array run(Attention& layer, const Call& call) {
  Context ctx(layer.dtype());
  const std::vector<Input> in = inputs_of(call);
  layer.forward(ctx, in,
                {.training = call.training, .arguments = call.arguments, .state = call.state});
  if (call.state == nullptr) layer.commit(ctx);
  return Array::copy_of(*ctx.output("output"));
}

// The text of a refusal, "" when f is done.
inline std::string refusal(const std::function<void()>& f) {
  try {
    f();
  } catch (const InvalidArgument& e) {
    return e.what();
  }
  return "";
}

// The inputs that are masks and have an effect.
inline std::vector<const attn_input*> masks_of(const attn_type& t) {
  std::vector<const attn_input*> out;
  for (uint32_t i = 0; i < t.n_inputs; ++i)
    if (t.inputs[i]->flags & ATTN_INPUT_MASK && !(t.inputs[i]->flags & ATTN_INPUT_UNUSED))
      out.push_back(t.inputs[i]);
  return out;
}

// A keep mask of ones with the extents of a schema's text, in some kind of element.
inline Array ones(const std::string& text, attn_dtype dtype) {
  Array a(ATTN_F64, shape_of(text));
  for (int64_t i = 0; i < a.size(); ++i) a.data<double>()[i] = 1;
  return a.astype(dtype);
}

inline void for_each_type(const std::function<void(const attn_type&)>& f) {
  for (const std::string& id : list_attention_types()) f(type_of(id));
}

}  // namespace attn::masks
