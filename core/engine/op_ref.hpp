// SPDX-License-Identifier: Apache-2.0
//
// Operators by name and version: the library's own and those of loaded plugins.
//
// A reference stays valid for the life of the process. [any-thread]
#pragma once

#include <attn/sdk/abi.h>

#include <string_view>

// What the border's opaque attn_op_ref is.
struct attn_op_ref {
  const attn_op* op;
};

namespace attn::engine {

// One of the library's own operators; nullptr when there is none of that name and version.
[[nodiscard]] const attn_op_ref* find_core_op(std::string_view name, uint32_t version);

// A reference for an operator of a plugin. The registry keeps names unique and decides who finds it.
[[nodiscard]] const attn_op_ref* make_op_ref(const attn_op* op);

// The host's table for plugins. Constant.
[[nodiscard]] const attn_engine* engine_table();

// Where log lines of plugins and of the engine go; nullptr: nowhere. The host sets it once.
using LogFunction = void (*)(int32_t level, const char* text);
void set_log(LogFunction log);
void log(int32_t level, const char* text);

}  // namespace attn::engine
