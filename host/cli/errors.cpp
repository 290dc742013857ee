// SPDX-License-Identifier: Apache-2.0
#include "host/cli/errors.hpp"

#include <attn/error.hpp>
#include <attn/json.hpp>

#include <new>

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

}  // namespace attn::cli
