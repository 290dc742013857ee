// SPDX-License-Identifier: Apache-2.0
//
// Making layers by the name of their type. Types come from the plugins found (attn/plugins.hpp); nothing here
// knows any of them.
//
// Parameters are an ordered Json object. Checks, their order and their texts are the same for every type and every
// door: the first rule that is broken is reported, what() is exactly its text, and details() carries type,
// parameter, value, what was expected and a hint ("did you mean ..."). One INFO or ERROR log line a call.
// Everything here may be called from any thread.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "attention.hpp"
#include "json.hpp"

namespace attn {

struct CreateOptions {
  // Claims (attn/claims.hpp) that the type must make for this config; otherwise it is refused, with the reason.
  std::vector<std::string> require{};
};

// name: of the layer, without '/'; empty: the class name in snake case, made unique in the process. Null is empty,
// any other kind is refused.
[[nodiscard]] std::unique_ptr<Attention> create_attention_layer(
    std::string_view type, const Json& parameters = Json::object(), const Json& name = nullptr,
    const CreateOptions& options = {});

// config: an object with `type`, optionally `name`, and the parameters. `"$require": ["causal"]` in it is required as in
// the options; like `$schema`, it is no parameter and not in the layer's config.
[[nodiscard]] std::unique_ptr<Attention> create_attention_from_config(
    const Json& config, const CreateOptions& options = {});

// The checks alone: creates nothing and writes no INFO or ERROR line. `name` is not a parameter here.
void validate_attention_config(std::string_view type, const Json& parameters);

// {type: {type, class, description, use_case, complexity, paper, input_shape, required_params, optional_params,
// aliases}}; a copy.
[[nodiscard]] Json get_attention_info();
// The entry of one type.
[[nodiscard]] Json get_attention_requirements(std::string_view type);

// What configurations have to look like, as JSON Schema 2020-12: of one type, or "" of all that are loaded. For editors
// and for checks without the library; core/schema/json_schema has what the standard cannot say. The same plugins give
// the same text. Throws as create_attention_layer does for an unknown type.
[[nodiscard]] Json config_schema(std::string_view type = "");

// Names of all types, ascending.
[[nodiscard]] std::vector<std::string> list_attention_types();

// The schema and the home of a type: what its plugin registered, valid as long as the process. Throws as
// create_attention_layer does for an unknown type.
struct TypeEntry {
  const attn_type* type = nullptr;
  std::string library;         // path of the plugin file
  std::string plugin_version;  // of that plugin
};
[[nodiscard]] TypeEntry find_attention_type(std::string_view type);

// A layer as save() wrote it: type, config, input widths, weights.
[[nodiscard]] std::unique_ptr<Attention> load_attention(const std::string& path,
                                                        const BuildOptions& options = {});

// Seed of the initial weights of layers built without one; before the first call entropy decides.
void set_seed(uint64_t seed);

}  // namespace attn
