// SPDX-License-Identifier: Apache-2.0
//
// Command lines that CLI11 refuses, in the words of this program: what was given, what the option takes, the nearest
// name, and where to read more.
#pragma once

#include "host/cli/errors.hpp"
#include "host/cli/program.hpp"

namespace attn::cli {

// program: as it was parsed when the error came.
[[nodiscard]] ErrorReport explain(const CLI::ParseError& error, const CLI::App& program);

}  // namespace attn::cli
