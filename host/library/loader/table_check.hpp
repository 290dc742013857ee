// SPDX-License-Identifier: Apache-2.0
//
// Whether the table that attn_plugin_v1() returned keeps every rule of the border that can be checked
// without calling its functions, and says the same as the metadata in the file. Run by the probe in its own
// process, and again where the plugin is used. [any-thread]
#pragma once

#include <attn/sdk/abi.h>

#include <optional>

#include "host/library/loader/elf_note.hpp"
#include "host/library/loader/refusal.hpp"

namespace attn::loader {

// The first problems in words, or nothing. The names in the table may be used as texts only after that.
[[nodiscard]] std::optional<Refusal> check_table(const attn_plugin* plugin, const PluginNote& note);

}  // namespace attn::loader
