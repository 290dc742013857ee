// SPDX-License-Identifier: Apache-2.0
//
// What the probe helper writes to its parent on file descriptor 3: a greeting before it opens the plugin, and
// one complete record after. A process that ended in between wrote only the first. [any-thread]
#pragma once

#include <optional>
#include <string>

#include "host/library/loader/refusal.hpp"

namespace attn::loader {

constexpr int kProbeDescriptor = 3;
// Where the helper finds the copy that it tries, if it is one.
constexpr int kProbeCopy = 4;
[[nodiscard]] inline std::string probe_copy_path() {
  return "/proc/self/fd/" + std::to_string(kProbeCopy);
}
// Part of the key of cached verdicts: changes whenever the probe checks something else.
constexpr const char* kProbeGreeting = "attn-plugin-probe 2\n";

// One line each, newlines and tabs escaped.
[[nodiscard]] std::string escape_line(const std::string& text);
[[nodiscard]] std::string unescape_line(const std::string& text);

// The record without the greeting; an absent refusal means that the file is good.
[[nodiscard]] std::string write_record(const std::optional<Refusal>& verdict);

// True when the text is greeting + one complete record; *verdict then has its content.
[[nodiscard]] bool read_record(const std::string& text, std::optional<Refusal>* verdict);

}  // namespace attn::loader
