// SPDX-License-Identifier: Apache-2.0
//
// Plugin files, directories and locks as JSON, for plugins and doctor.
#pragma once

#include <attn/json.hpp>
#include <attn/plugins.hpp>

namespace attn::cli {

[[nodiscard]] const char* state_name(PluginFile::State state);
[[nodiscard]] Json to_json(const PluginFile& file);
[[nodiscard]] Json to_json(const PluginDirectory& directory);
[[nodiscard]] Json to_json(const PluginLockFile& lock);
// "problem; expected ...; hint" of a refused file.
[[nodiscard]] std::string refusal_text(const PluginFile& file);

}  // namespace attn::cli
