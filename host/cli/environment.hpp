// SPDX-License-Identifier: Apache-2.0
//
// What the environment decides of this process, and what each place of plugins is to it, for doctor.
#pragma once

#include <attn/json.hpp>
#include <attn/plugins.hpp>

#include <map>
#include <string>

namespace attn::cli {

// The variables that are set, by name: each {name, value, effect}. What begins with ATTN_ and is read by nothing is there,
// too, with the name that was meant. instead: the effect of variables that do not count here.
[[nodiscard]] Json environment_facts(const PluginReport& report,
                                     const std::map<std::string, std::string>& instead);

// Where plugins are looked for: "--plugin-path, and nowhere else".
[[nodiscard]] std::string plugin_path_text(const PluginReport& report);

// How many plugins a directory has, or why it has none and what to do.
[[nodiscard]] std::string directory_state(const PluginDirectory& directory,
                                          const PluginReport& report);

// A lock's path and what it does.
[[nodiscard]] std::string lock_state(const PluginLockFile& lock);

}  // namespace attn::cli
