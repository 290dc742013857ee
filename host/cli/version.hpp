// SPDX-License-Identifier: Apache-2.0
//
// attn --version.
#pragma once

#include <attn/json.hpp>

#include <string>

namespace attn::cli {

// {version, commit, abi, compiler, cpu, ...}
[[nodiscard]] Json version_facts();
// Those that do not depend on the CPU.
[[nodiscard]] Json short_version_facts();
// Standard output.
void print_version(bool json);

}  // namespace attn::cli
