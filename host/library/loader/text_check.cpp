// SPDX-License-Identifier: Apache-2.0
#include <cstring>

#include "host/library/loader/schema_check.hpp"

namespace attn::loader {
namespace {

bool lower(char c) { return c >= 'a' && c <= 'z'; }
bool digit(char c) { return c >= '0' && c <= '9'; }
bool letter(char c) { return lower(c) || (c >= 'A' && c <= 'Z') || c == '_'; }

constexpr std::size_t kMaxName = 64;
constexpr std::size_t kMaxText = 16384;

// Bytes of the well-formed UTF-8 character at s, 0 when there is none (Unicode 15, table 3-7).
std::size_t character(const unsigned char* s, std::size_t left) {
  const auto tail = [](unsigned char c) { return (c & 0xc0u) == 0x80u; };
  if (s[0] < 0x80) return s[0] >= 0x20 && s[0] != 0x7f ? 1 : (s[0] == '\n' || s[0] == '\t');
  if (s[0] >= 0xc2 && s[0] <= 0xdf) return left >= 2 && tail(s[1]) ? 2 : 0;
  if (s[0] >= 0xe0 && s[0] <= 0xef) {
    const bool ok = left >= 3 && tail(s[1]) && tail(s[2]) && !(s[0] == 0xe0 && s[1] < 0xa0) &&
                    !(s[0] == 0xed && s[1] > 0x9f);
    return ok ? 3 : 0;
  }
  if (s[0] >= 0xf0 && s[0] <= 0xf4) {
    const bool ok = left >= 4 && tail(s[1]) && tail(s[2]) && tail(s[3]) &&
                    !(s[0] == 0xf0 && s[1] < 0x90) && !(s[0] == 0xf4 && s[1] > 0x8f);
    return ok ? 4 : 0;
  }
  return 0;
}

}  // namespace

bool is_identifier(const char* text) noexcept {
  if (text == nullptr || !letter(text[0])) return false;
  std::size_t n = 1;
  for (; n <= kMaxName && text[n] != '\0'; ++n) {
    if (!letter(text[n]) && !digit(text[n])) return false;
  }
  return n <= kMaxName;
}

bool is_dotted_name(const char* text) noexcept {
  if (text == nullptr) return false;
  bool part_begins = true;
  std::size_t n = 0;
  for (; n <= kMaxName && text[n] != '\0'; ++n) {
    const char c = text[n];
    if (part_begins) {
      if (!lower(c)) return false;
      part_begins = false;
    } else if (c == '.') {
      part_begins = true;
    } else if (!lower(c) && !digit(c) && c != '_') {
      return false;
    }
  }
  return n <= kMaxName && !part_begins;
}

bool is_text(const char* text) noexcept {
  if (text == nullptr) return false;
  const std::size_t length = ::strnlen(text, kMaxText + 1);
  if (length > kMaxText) return false;
  const auto* bytes = reinterpret_cast<const unsigned char*>(text);
  for (std::size_t at = 0; at < length;) {
    const std::size_t n = character(bytes + at, length - at);
    if (n == 0) return false;
    at += n;
  }
  return true;
}

std::string quoted(const char* text) {
  if (text == nullptr) return "NULL";
  constexpr std::size_t kShown = 80;
  const std::size_t length = ::strnlen(text, kShown + 1);
  std::string out = "'";
  for (std::size_t i = 0; i < length && i < kShown; ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    out += c >= 0x20 && c < 0x7f ? text[i] : '?';
  }
  if (length > kShown) out += "...";
  return out + "'";
}

}  // namespace attn::loader
