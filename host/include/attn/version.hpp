// SPDX-License-Identifier: Apache-2.0
//
// What this library is.
#pragma once

namespace attn {
[[nodiscard]] const char* version() noexcept;  // "0.1.0"
[[nodiscard]] const char* commit() noexcept;   // short hash of the source, or "unknown"
}  // namespace attn
