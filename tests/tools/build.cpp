// SPDX-License-Identifier: Apache-2.0
#include "tests/tools/build.hpp"

#include <string_view>

namespace attn::test {

const char* const build_directory = ATTN_BINARY_DIR;
const bool sanitized = !std::string_view(ATTN_SANITIZE).empty();
const bool sanitized_for_threads = std::string_view(ATTN_SANITIZE) == "thread";

}  // namespace attn::test
