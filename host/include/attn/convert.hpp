// SPDX-License-Identifier: Apache-2.0
//
// Weights of attention modules of other libraries: into a layer of this one with the same function, and back.
//
//   const attn::SafetensorsFile file("model.safetensors");
//   auto layer = attn::convert_attention(
//       attn::tensor_set(file, "model"), {.prefix = "encoder.layer.3.attention", .variables = {{"num_heads", 12}}});
//   std::map<std::string, attn::Array> back = attn::convert_back(*layer, "hf-bert");
//
// A form is a kind of module as its library stores it: names, shapes and orders of its tensors. host/docs/convert.md
// lists the forms and what each refuses. Numbers are moved, never changed, so that there and back gives the same bits.
// What the tensors do not say is given by variables: num_heads, the epsilon of norms, dropout_rate.
// Errors: InvalidArgument that names the form, the tensor and the reason. [any-thread]
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "attention.hpp"
#include "json.hpp"
#include "safetensors.hpp"
#include "tensor.hpp"

namespace attn {

// Tensors by name, wherever they are.
struct TensorSet {
  std::string name{};  // for messages: "model.safetensors"
  std::map<std::string, std::vector<int64_t>> shapes{};
  std::function<Array(const std::string& name)> read{};  // of one of the names
};
// Both look at their argument, which must outlive the set.
[[nodiscard]] TensorSet tensor_set(const SafetensorsFile& file, const std::string& name);
[[nodiscard]] TensorSet tensor_set(const std::map<std::string, ConstView>& tensors,
                                   const std::string& name);

// One attention module among many tensors: its form, and what stands before the names of its tensors.
struct FoundAttention {
  std::string form;
  std::string prefix;
};

struct ConvertOptions {
  std::string form{};    // empty: what the tensors tell
  std::string type{};    // attention type of the layer; empty: the first of the form that fits
  std::string prefix{};  // where the module stands, or what it is in; it must be the only one there
  Json variables = Json::object();
};

struct ConvertedAttention {
  std::unique_ptr<Attention> layer{};  // built; in float64 where the tensors are
  FoundAttention found{};
  std::vector<std::string>
      left_out{};  // tensors of the module that are not attention: norms after it
};

// Every attention module of a known form, in the order of the names.
[[nodiscard]] std::vector<FoundAttention> find_attention(const TensorSet& source);

// The only one that the options mean.
[[nodiscard]] FoundAttention choose_attention(const TensorSet& source,
                                              const ConvertOptions& options = {});

[[nodiscard]] ConvertedAttention convert_attention(const TensorSet& source,
                                                   const ConvertOptions& options = {});

// The tensors of a module of that form which computes what a built layer does. With `target`, the shapes of a module
// that exists, exactly those, less what the form leaves out; without, all that the layer has. Refused: what the
// form cannot express, by the name of the parameter or weight.
[[nodiscard]] std::map<std::string, Array> convert_back(
    const Attention& layer, const std::string& form,
    const std::optional<std::map<std::string, std::vector<int64_t>>>& target = {});

// ---- whole models ---------------------------------------------------------------------------------
// A family are published language models whose config.json has the same rules, such as "llama" (host/docs/convert.md).

// Layer `number` of a model of that family. tensors: those of its attention module, by their names in it ("q_proj.weight").
// config: the model's config.json. nullptr: a layer of another kind. Refused, by name: rules in config.json that are
// not known, values that the type does not have, tensors without a use.
[[nodiscard]] std::unique_ptr<Attention> convert_model_layer(const TensorSet& tensors,
                                                             const Json& config,
                                                             const std::string& family,
                                                             int64_t number,
                                                             attn_dtype dtype = ATTN_F32);

// The family of models whose config.json has this model_type. InvalidArgument: none.
[[nodiscard]] std::string model_family_of(const std::string& model_type);

// {family: {title, model_types, type, config, tensors, ...}}.
[[nodiscard]] const Json& model_families();

// The tables that say all this: {form: {title, classes, types, tensors, ...}}.
[[nodiscard]] const Json& attention_forms();

}  // namespace attn
