// SPDX-License-Identifier: Apache-2.0
#include <attn/version.hpp>

// ATTN_VERSION and ATTN_COMMIT come from the build.
namespace attn {
const char* version() noexcept { return ATTN_VERSION; }
const char* commit() noexcept { return ATTN_COMMIT; }
}  // namespace attn
