// SPDX-License-Identifier: Apache-2.0
//
// Errors as the user of the program sees them, and the exit code that goes with each.
#pragma once

#include <exception>
#include <string>

namespace attn::cli {

// Four parts and a code for programs: "usage", "invalid_argument", "failure", "out_of_memory", "internal".
struct ErrorReport {
  std::string code, where, message, expected, hint;
  int exit_code = 0;
};

[[nodiscard]] ErrorReport describe(const std::exception& error);
[[nodiscard]] ErrorReport usage_error(const std::string& where, const std::string& message,
                                      const std::string& hint);

// "attn: where: what; expected ...; hint", each part once.
[[nodiscard]] std::string to_text(const ErrorReport& report);
// {"error": {...}}, one line.
[[nodiscard]] std::string to_json(const ErrorReport& report);
// As the program prints it: JSON, or a text that a terminal only shows. Lines that are indented stay lines: so a message
// shows where a text is wrong.
[[nodiscard]] std::string printed(const ErrorReport& report, bool json);

}  // namespace attn::cli
