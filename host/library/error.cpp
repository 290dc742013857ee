// SPDX-License-Identifier: Apache-2.0
#include <attn/error.hpp>

#include "core/error/nearest.hpp"

namespace attn {

namespace {

// Letter case aside: a message may end with its hint as a sentence of its own.
bool contains(const std::string& text, const std::string& part) {
  return lower_case(text).find(lower_case(part)) != std::string::npos;
}

std::string joined(std::string message, const ErrorDetails& d) {
  std::string text;
  if (!d.where.empty() && !contains(message, d.where)) {
    text = d.where + ": ";
    // Of "layer > operator" the message may name the layer once more.
    const std::string layer = d.where.substr(0, d.where.find(" > ")) + ": ";
    if (message.starts_with(layer)) message.erase(0, layer.size());
  }
  text += message;
  const auto add = [&](const std::string& lead, const std::string& part) {
    // A list that the message has already is not repeated.
    const std::string said = part.starts_with("one of ") ? part.substr(7) : part;
    if (!part.empty() && !contains(text, said)) text += "; " + lead + part;
  };
  add(d.expected.starts_with("must ") || d.expected.starts_with("expected ") ? "" : "expected ",
      d.expected);
  add("", d.hint);
  return text;
}

}  // namespace

std::string message_of(const std::exception& error) {
  if (const auto* e = dynamic_cast<const InvalidArgument*>(&error))
    return joined(e->what(), e->details());
  if (const auto* e = dynamic_cast<const Failure*>(&error)) return joined(e->what(), e->details());
  return error.what();
}

}  // namespace attn
