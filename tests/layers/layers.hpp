// SPDX-License-Identifier: Apache-2.0
//
// What the tests of whole layers share: inputs, and one forward with its gradients.
#pragma once

#include <attn/attention.hpp>
#include <attn/factory.hpp>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

namespace attn::testing {

// Values in [-1, 1] that look random and are the same everywhere.
inline Array wave(const Shape& shape, uint64_t seed = 1) {
  Array a(ATTN_F32, shape);
  uint64_t x = seed * 0x9E3779B97F4A7C15u + 1;
  for (int64_t i = 0; i < a.size(); ++i) {
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    a.data<float>()[i] = static_cast<float>(static_cast<int64_t>(x >> 40) - (1 << 23)) / (1 << 23);
  }
  return a;
}

inline bool same_bits(const Array& a, const Array& b) {
  return a.shape() == b.shape() && a.bytes() == b.bytes() &&
         std::memcmp(a.raw(), b.raw(), a.bytes()) == 0;
}

// Everything that a call and its backward give, in one list.
struct Results {
  std::vector<Array> values;
  friend bool operator==(const Results& a, const Results& b) {
    if (a.values.size() != b.values.size()) return false;
    for (size_t i = 0; i < a.values.size(); ++i)
      if (!same_bits(a.values[i], b.values[i])) return false;
    return true;
  }
};

inline Results forward_and_gradients(Attention& layer, Context& ctx,
                                     const std::vector<const Array*>& inputs,
                                     const CallOptions& options) {
  std::vector<Input> in;
  for (const Array* a : inputs) in.emplace_back(*a);
  CallOptions recorded = options;
  recorded.record = true;
  layer.forward(ctx, in, recorded);
  Results r;
  r.values.push_back(Array::copy_of(*ctx.output("output")));
  const Array cotangent = wave(r.values[0].shape(), 99);
  const Input c(cotangent);
  Gradients gradients(layer);
  layer.backward(ctx, {&c, 1}, gradients);
  for (uint32_t i = 0; i < layer.type().n_inputs; ++i)
    if (const auto g = ctx.input_gradient(layer.type().inputs[i]->name))
      r.values.push_back(Array::copy_of(*g));
  for (const auto& e : gradients.entries())
    if (e.trained) r.values.push_back(e.gradient.clone());
  return r;
}

// Layers of different character, with inputs of at least 64 tasks.
struct Sample {
  std::string type;
  Json config;
  std::vector<Shape> inputs;
};
inline std::vector<Sample> samples() {
  return {
      {"multi_head", {{"dim", 64}, {"num_heads", 8}, {"dropout_rate", 0.1}}, {{9, 130, 64}}},
      {"multi_head",
       {{"dim", 64},
        {"num_heads", 8},
        {"probability_type", "sparsemax"},
        {"qk_norm_type", "rms_norm"}},
       {{9, 66, 64}}},
      {"multi_head_cross",
       {{"dim", 64}, {"num_heads", 8}, {"use_adaptive_softmax", true}},
       {{8, 65, 64}, {8, 70, 64}}},
      {"group_query",
       {{"dim", 64},
        {"num_heads", 8},
        {"num_kv_heads", 2},
        {"probability_type", "threshmax"},
        {"probability_config", Json{{"trainable_slope", true}}}},
       {{9, 130, 64}}},
      {"gated",
       {{"dim", 64},
        {"num_heads", 8},
        {"num_kv_heads", 2},
        {"head_dim", 6},
        {"qk_norm_type", "batch_norm"},
        {"gate_activation_type", "xsilu"}},
       {{9, 66, 64}}},
      {"differential",
       {{"dim", 64}, {"num_heads", 8}, {"head_dim", 8}, {"attention_dropout_rate", 0.1}},
       {{9, 130, 64}}},
      {"hopfield",
       {{"num_heads", 8}, {"key_dim", 8}, {"update_steps_max", 3}, {"update_steps_eps", 0.3}},
       {{8, 65, 64}, {8, 70, 32}}},
      {"non_local",
       {{"attention_channels", 16},
        {"attention_mode", "dot_product"},
        {"kernel_size", 3},
        {"dropout_rate", 0.1}},
       {{9, 12, 11, 16}}},
      {"cbam", {{"channels", 16}, {"ratio", 4}, {"channel_use_bias", true}}, {{9, 12, 31, 16}}},
      {"mobile_mqa",
       {{"dim", 64}, {"num_heads", 8}, {"use_downsampling", true}, {"dropout_rate", 0.1}},
       {{9, 12, 11, 64}}},
      {"fnet", {{"implementation", "fft"}}, {{9, 66, 61}}},
      {"fnet", {{"implementation", "matrix"}}, {{9, 66, 61}}},
      {"rpc", {{"dim", 64}, {"num_heads", 8}, {"max_pcp_iter", 3}}, {{9, 17, 64}}},
      {"window",
       {{"dim", 64}, {"window_size", 4}, {"num_heads", 8}, {"attn_dropout_rate", 0.1}},
       {{9, 50, 64}}},
      {"anchor", {{"dim", 64}, {"num_heads", 8}, {"dropout_rate", 0.1}}, {{9, 130, 64}}},
      {"ring", {{"dim", 64}, {"num_heads", 8}, {"block_size", 128}}, {{2, 400, 64}}},
      {"performer",
       {{"dim", 64}, {"num_heads", 8}, {"nb_features", 32}, {"seed", 1}},
       {{1, 4200, 64}}},
      {"performer",
       {{"dim", 64}, {"num_heads", 8}, {"nb_features", 32}, {"seed", 1}, {"causal", true}},
       {{3, 130, 64}}},
      {"capsule_routing", {{"num_heads", 8}, {"dropout_rate", 0.1}}, {{9, 66, 64}}},
  };
}

// The types that keep a history of keys and values.
inline std::vector<Sample> types_with_history() {
  const Json config = {{"dim", 16}, {"num_heads", 4}};
  return {{"multi_head", config, {}},
          {"group_query", {{"dim", 16}, {"num_heads", 4}, {"num_kv_heads", 2}}, {}},
          {"gated", config, {}},
          {"differential", {{"dim", 16}, {"num_heads", 4}, {"head_dim", 4}}, {}}};
}

inline Json with(Json config, const Json& more) {
  for (const auto& [name, value] : more.as_object()) config.set(name, value);
  return config;
}

// Types whose queries and keys are all positions so far, and whether an argument makes their calls causal.
struct Counting {
  Sample sample;
  bool causal = true;
};
inline std::vector<Counting> counting_types() {
  const Json config{{"dim", 16}, {"num_heads", 4}};
  std::vector<Counting> out;
  for (const Sample& sample : types_with_history()) out.push_back({sample});
  out.push_back({{"talking_heads", config, {}}});
  out.push_back({{"decoder", with(config, {{"num_kv_heads", 2}, {"window", 9}}), {}}});
  out.push_back({{"multi_head_latent",
                  with(config, {{"kv_latent_dim", 6},
                                {"qk_nope_head_dim", 3},
                                {"qk_rope_head_dim", 4},
                                {"v_head_dim", 5}}),
                  {}}});
  out.push_back({{"forgetting", config, {}}, false});
  return out;
}

}  // namespace attn::testing
