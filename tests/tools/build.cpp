// SPDX-License-Identifier: Apache-2.0
#include "tests/tools/build.hpp"

namespace attn::test {

const char* const build_directory = ATTN_BINARY_DIR;
const bool sanitized = ATTN_SANITIZED;

}  // namespace attn::test
