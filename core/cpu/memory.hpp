// SPDX-License-Identifier: Apache-2.0
//
// How much memory this process can still have.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace attn::cpu {

// Bytes that the system can give without swapping (MemAvailable of /proc/meminfo). None: it does not say. root: what
// stands before /proc, for tests.
[[nodiscard]] std::optional<int64_t> available_memory(const std::string& root = "");

}  // namespace attn::cpu
