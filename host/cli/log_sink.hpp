// SPDX-License-Identifier: Apache-2.0
//
// The library's log records on standard error: as text, or as JSON objects.
#pragma once

#include "host/cli/program.hpp"

namespace attn::cli {

// Shows warnings and errors; -v also info, -vv also debug, -q errors only, -qq nothing. Without these options
// ATTN_LOG says the level: debug, info, warning, error or off. Throws InvalidArgument for another word.
void install_log_sink(const Globals& globals);
// Why it would throw; "": it would not.
[[nodiscard]] std::string log_level_problem(const Globals& globals);

// Drops all records as long as it lives.
class QuietLog {
 public:
  QuietLog();
  ~QuietLog();
  QuietLog(const QuietLog&) = delete;
  QuietLog& operator=(const QuietLog&) = delete;
};

}  // namespace attn::cli
