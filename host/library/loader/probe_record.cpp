// SPDX-License-Identifier: Apache-2.0
#include "host/library/loader/probe_record.hpp"

#include <cstring>
#include <vector>

namespace attn::loader {

std::string escape_line(const std::string& text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '\\':
        out += "\\\\";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\t':
        out += "\\t";
        break;
      default:
        out += c;
    }
  }
  return out;
}

std::string unescape_line(const std::string& text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\\' || i + 1 == text.size()) {
      out += text[i];
      continue;
    }
    const char c = text[++i];
    out += c == 'n' ? '\n' : c == 't' ? '\t' : c;
  }
  return out;
}

std::string write_record(const std::optional<Refusal>& verdict) {
  if (!verdict) return "good\nend\n";
  return std::string("refused\n") + name(verdict->kind) + "\n" + escape_line(verdict->problem) +
         "\n" + escape_line(verdict->expected) + "\n" + escape_line(verdict->hint) + "\nend\n";
}

bool read_record(const std::string& text, std::optional<Refusal>* verdict) {
  const std::size_t greeting = std::strlen(kProbeGreeting);
  if (text.compare(0, greeting, kProbeGreeting) != 0) return false;
  std::vector<std::string> lines;
  for (std::size_t at = greeting; at < text.size();) {
    const std::size_t end = text.find('\n', at);
    if (end == std::string::npos) return false;
    lines.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  if (lines.empty() || lines.back() != "end") return false;
  if (lines.size() == 2 && lines[0] == "good") {
    verdict->reset();
    return true;
  }
  RefusalKind kind{};
  if (lines.size() != 6 || lines[0] != "refused" || !kind_from_name(lines[1], &kind)) return false;
  *verdict =
      Refusal{kind, unescape_line(lines[2]), unescape_line(lines[3]), unescape_line(lines[4])};
  return true;
}

}  // namespace attn::loader
