// SPDX-License-Identifier: Apache-2.0
#include "host/cli/errors.hpp"

#include <attn/error.hpp>
#include <attn/json.hpp>

#include <algorithm>
#include <new>
#include <string_view>

#include "host/cli/print.hpp"
#include "host/cli/program.hpp"

namespace attn::cli {

namespace {

ErrorReport from_details(const char* code, const std::exception& error, const ErrorDetails& details,
                         int exit_code) {
  return {code, details.where, error.what(), details.expected, details.hint, exit_code};
}

}  // namespace

ErrorReport describe(const std::exception& error) {
  if (const auto* e = dynamic_cast<const InvalidArgument*>(&error))
    return from_details("invalid_argument", error, e->details(), kRefused);
  if (const auto* e = dynamic_cast<const Failure*>(&error))
    return from_details("failure", error, e->details(), kFailed);
  if (dynamic_cast<const std::bad_alloc*>(&error))
    return {"out_of_memory", "", "not enough memory", "", "use smaller inputs", kFailed};
  return {"internal", "", error.what(), "", "", kFailed};
}

ErrorReport usage_error(const std::string& where, const std::string& message,
                        const std::string& hint) {
  return {"usage", where, message, "", hint, kRefused};
}

std::string to_text(const ErrorReport& r) {
  return "attn: " + message_of(InvalidArgument(
                        r.message, {.where = r.where, .expected = r.expected, .hint = r.hint}));
}

std::string to_json(const ErrorReport& r) {
  const Json error = {{"code", r.code},
                      {"where", r.where},
                      {"message", r.message},
                      {"expected", r.expected},
                      {"hint", r.hint}};
  return Json{{"error", error}}.dump();
}

std::string printed(const ErrorReport& r, bool json) {
  if (json) return to_json(r);
  const std::string text = to_text(r), next = "\n    ";
  std::string out;
  size_t begin = 0;
  for (size_t end = 0; end < text.size(); begin = end + 1) {
    end = std::min(text.find(next, begin), text.size());
    out += (begin > 0 ? "\n" : "") + visible(std::string_view(text).substr(begin, end - begin));
  }
  return out;
}

}  // namespace attn::cli
