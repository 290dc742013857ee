// SPDX-License-Identifier: Apache-2.0
//
// Json as text: JSON and the way Python prints values.
#include <cmath>

#include "core/error/error.hpp"
#include "core/schema/json.hpp"

namespace attn {
namespace {

void append_quoted(std::string& out, std::string_view text) {
  constexpr char kHex[] = "0123456789abcdef";
  out += '"';
  for (const char c : text) {
    switch (c) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\t':
        out += "\\t";
        break;
      default:
        if (static_cast<unsigned char>(c) < 0x20) {
          out += "\\u00";
          out += kHex[(c >> 4) & 15];
          out += kHex[c & 15];
        } else {
          out += c;
        }
    }
  }
  out += '"';
}

void new_line(std::string& out, int indent, int depth) {
  if (indent <= 0) return;
  out += '\n';
  out.append(static_cast<std::size_t>(indent) * static_cast<std::size_t>(depth), ' ');
}

}  // namespace

std::string json_quoted(std::string_view text) {
  std::string out;
  append_quoted(out, text);
  return out;
}

void Json::write(std::string& out, int indent, int depth) const {
  switch (kind()) {
    case Kind::null:
      out += "null";
      return;
    case Kind::boolean:
      out += as_bool() ? "true" : "false";
      return;
    case Kind::integer:
    case Kind::floating:
      out += number_text();
      return;
    case Kind::string:
      append_quoted(out, as_string());
      return;
    case Kind::list:
    case Kind::object:
      break;
  }
  const bool object = is_object();
  out += object ? '{' : '[';
  for (std::size_t i = 0; i < size(); ++i) {
    if (i > 0) out += ',';
    new_line(out, indent, depth + 1);
    if (object) {
      append_quoted(out, as_object()[i].first);
      out += indent > 0 ? ": " : ":";
    }
    (object ? as_object()[i].second : as_list()[i]).write(out, indent, depth + 1);
  }
  if (!empty()) new_line(out, indent, depth);
  out += object ? '}' : ']';
}

namespace {

void refuse_non_finite(const Json& value) {
  if (value.is_floating() && !std::isfinite(value.to_double())) {
    throw InvalidArgument("JSON has no number " + value.number_text());
  }
  if (value.is_list()) {
    for (const Json& element : value.as_list()) refuse_non_finite(element);
  }
  if (value.is_object()) {
    for (const Json::Member& member : value.as_object()) refuse_non_finite(member.second);
  }
}

}  // namespace

std::string Json::dump(int indent) const {
  refuse_non_finite(*this);
  std::string out;
  write(out, indent, 0);
  return out;
}

std::string Json::brief(std::size_t limit) const {
  std::string out;
  write(out, 0, 0);
  if (out.size() <= limit) return out;
  // Cut between characters, not inside one.
  std::size_t cut = limit;
  while (cut > 0 && (static_cast<unsigned char>(out[cut]) & 0xC0) == 0x80) --cut;
  out.resize(cut);
  return out + "...";
}

void Json::repr(std::string& out) const {
  switch (kind()) {
    case Kind::null:
      out += "None";
      return;
    case Kind::boolean:
      out += as_bool() ? "True" : "False";
      return;
    case Kind::integer:
      out += sign() == 0 ? "0" : number_text();
      return;
    case Kind::floating:
      out += shortest(to_double());
      return;
    case Kind::string:
      out += '\'' + as_string() + '\'';
      return;
    case Kind::list:
    case Kind::object:
      break;
  }
  const bool object = is_object();
  out += object ? '{' : '[';
  for (std::size_t i = 0; i < size(); ++i) {
    if (i > 0) out += ", ";
    if (object) out += '\'' + as_object()[i].first + "': ";
    (object ? as_object()[i].second : as_list()[i]).repr(out);
  }
  out += object ? '}' : ']';
}

std::string Json::python_repr() const {
  std::string out;
  repr(out);
  return out;
}

}  // namespace attn
