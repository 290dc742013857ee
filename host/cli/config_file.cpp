// SPDX-License-Identifier: Apache-2.0
#include "host/cli/config_file.hpp"

#include <attn/factory.hpp>

#include "core/schema/layer_name.hpp"
#include "core/schema/validate.hpp"
#include "host/cli/log_sink.hpp"

namespace attn::cli {

ConfigFile::ConfigFile(const std::string& path, const std::string& section)
    : config_(load_config(path, section)) {
  const Json& value = config_.value();
  if (!value.is_object())
    throw config_.located(InvalidArgument("Configuration must be a dictionary"));
  if (!value.contains("type"))
    throw config_.located(InvalidArgument(
        "Configuration must include a 'type' key",
        {.hint = section.empty() ? "add it (attn list shows the types), or name the place of "
                                   "the layer in the file by --section"
                                 : "check --section"}));
  if (!value.at("type").is_string())
    throw config_.located(
        InvalidArgument("Configuration key 'type' must be a string",
                        {.parameter = "type", .value = value.at("type").brief()}));
}

std::string ConfigFile::type() const { return config_.value().at("type").as_string(); }

Json ConfigFile::parameters() const { return schema::split_config(config_.value()).parameters; }

void ConfigFile::validate() const {
  try {
    validate_attention_config(type(), parameters());
    if (const Json* name = config_.value().find("name")) schema::check_layer_name(*name);
    // Conditions of claims are asked of a layer.
    const std::vector<std::string> require = schema::split_config(config_.value()).require;
    const QuietLog quiet;
    if (!require.empty()) (void)create_attention_layer(type(), parameters(), "required", {require});
  } catch (const InvalidArgument& e) {
    ErrorDetails details = e.details();
    // An unknown type is an error of the value of `type`.
    if (details.parameter.empty() && std::string(e.what()).starts_with("Unknown attention type"))
      details.parameter = "type", details.value = type();
    throw config_.located(InvalidArgument(e.what(), details));
  }
}

std::unique_ptr<Attention> ConfigFile::create(uint64_t seed) const {
  validate();
  set_seed(seed);
  return create_attention_from_config(config_.value());
}

}  // namespace attn::cli
