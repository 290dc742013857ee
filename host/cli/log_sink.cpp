// SPDX-License-Identifier: Apache-2.0
#include "host/cli/log_sink.hpp"

#include <attn/error.hpp>
#include <attn/json.hpp>
#include <attn/log.hpp>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <string>

#include "host/cli/print.hpp"

namespace attn::cli {

namespace {

constexpr const char* kWords[] = {"debug", "info", "warning", "error", "off"};
constexpr int kOff = 4;
std::atomic<int> muted{0};

int least_level(const Globals& globals) {
  const int warning = static_cast<int>(LogLevel::warning);
  if (globals.verbose || globals.quiet)
    return std::clamp(warning - globals.verbose + globals.quiet, 0, kOff);
  const char* text = std::getenv("ATTN_LOG");
  if (!text || !*text) return warning;
  for (int i = 0; i <= kOff; ++i)
    if (std::string_view(text) == kWords[i]) return i;
  throw InvalidArgument("ATTN_LOG: unknown level '" + std::string(text) +
                            "'; expected debug, info, warning, error or off",
                        {.where = "ATTN_LOG",
                         .value = text,
                         .expected = "debug, info, warning, error or off",
                         .hint = "unset it, or use -v and -q"});
}

}  // namespace

std::string log_level_problem(const Globals& globals) {
  try {
    static_cast<void>(least_level(globals));
  } catch (const InvalidArgument& e) {
    return message_of(e);
  }
  return "";
}

void install_log_sink(const Globals& globals) {
  const int least = least_level(globals);
  const bool json = globals.json;
  if (least == kOff) return set_log_sink({});
  set_log_sink([least, json](LogLevel level, std::string_view text) {
    const int n = static_cast<int>(level);
    if (n < least || muted.load()) return;
    if (json)
      print_error_line(Json{{"level", kWords[n]}, {"message", text}}.dump());
    else
      print_error_line(visible(std::string("attn: ") + kWords[n] + ": " + std::string(text)));
  });
}

QuietLog::QuietLog() { muted.fetch_add(1); }
QuietLog::~QuietLog() { muted.fetch_sub(1); }

}  // namespace attn::cli
