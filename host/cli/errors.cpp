// SPDX-License-Identifier: Apache-2.0
#include "host/cli/errors.hpp"

#include <attn/error.hpp>
#include <attn/json.hpp>

#include <new>

#include "core/schema/text.hpp"
#include "host/cli/program.hpp"

namespace attn::cli {

namespace {

ErrorReport from_details(const char* code, const std::exception& error, const ErrorDetails& details,
                         int exit_code) {
  return {code, details.where, error.what(), details.expected, details.hint, exit_code};
}

// Letter case aside: a message may end with its hint as a sentence of its own.
bool contains(const std::string& text, const std::string& part) {
  return schema::lower_case(text).find(schema::lower_case(part)) != std::string::npos;
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
  std::string text = "attn: ";
  std::string message = r.message;
  if (!r.where.empty() && !contains(message, r.where)) {
    text += r.where + ": ";
    // Of "layer > operator" the message may name the layer once more.
    const std::string layer = r.where.substr(0, r.where.find(" > ")) + ": ";
    if (message.starts_with(layer)) message.erase(0, layer.size());
  }
  text += message;
  const auto add = [&](const std::string& lead, const std::string& part) {
    // A list that the message has already is not repeated.
    const std::string said = part.starts_with("one of ") ? part.substr(7) : part;
    if (!part.empty() && !contains(text, said)) text += "; " + lead + part;
  };
  add(r.expected.starts_with("must ") || r.expected.starts_with("expected ") ? "" : "expected ",
      r.expected);
  add("", r.hint);
  return text;
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
