// SPDX-License-Identifier: Apache-2.0
#include "host/library/config/position.hpp"

#include <algorithm>

namespace attn::config {
namespace {

// Walks over a JSON text that is known to be valid.
class Walker {
 public:
  explicit Walker(std::string_view text) : text_(text) {
    if (text_.substr(0, 3) == "\xEF\xBB\xBF") at_ = 3;
    skip_space();
  }

  [[nodiscard]] std::size_t at() const { return at_; }
  [[nodiscard]] char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }

  void take(char c) {
    if (peek() == c) ++at_;
    skip_space();
  }

  // The token of a text with its quotes.
  std::string_view string() {
    const std::size_t begin = at_++;
    while (at_ < text_.size() && text_[at_] != '"') at_ += text_[at_] == '\\' ? 2 : 1;
    at_ = std::min(at_ + 1, text_.size());
    const std::string_view token = text_.substr(begin, at_ - begin);
    skip_space();
    return token;
  }

  // Passes over a whole value without recursion.
  void value() {
    std::size_t open = 0;
    do {
      const char c = peek();
      if (c == '"') {
        static_cast<void>(string());
      } else if (c == '{' || c == '[') {
        ++open;
        take(c);
      } else if (c == '}' || c == ']') {
        --open;
        take(c);
      } else if (c == ',' || c == ':') {
        take(c);
      } else {
        at_ = std::min(text_.find_first_of(",:]} \t\r\n", at_), text_.size());
        skip_space();
      }
    } while (open > 0 && at_ < text_.size());
  }

 private:
  void skip_space() { at_ = std::min(text_.find_first_not_of(" \t\r\n", at_), text_.size()); }

  std::string_view text_;
  std::size_t at_ = 0;
};

bool same_key(std::string_view token, std::string_view key) {
  if (token.find('\\') != std::string_view::npos) return parse_config(token).as_string() == key;
  return token.substr(1, token.size() - 2) == key;
}

// Moves into the member or element; false when there is none.
bool enter(Walker& walker, const std::string& step, std::size_t* key_at) {
  const bool object = walker.peek() == '{';
  if (!object && walker.peek() != '[') return false;
  walker.take(walker.peek());
  for (std::size_t index = 0; walker.peek() != '}' && walker.peek() != ']'; ++index) {
    *key_at = walker.at();
    bool found = !object && std::to_string(index) == step;
    if (object) {
      found = same_key(walker.string(), step);
      walker.take(':');
    }
    if (found) return true;
    walker.value();
    if (walker.peek() == ',') walker.take(',');
    if (walker.peek() == '\0') return false;
  }
  return false;
}

}  // namespace

Position position_of(std::string_view text, std::size_t offset) {
  const std::string_view before = text.substr(0, std::min(offset, text.size()));
  const std::size_t newline = before.rfind('\n');
  std::string_view line = newline == std::string_view::npos ? before : before.substr(newline + 1);
  if (newline == std::string_view::npos && line.substr(0, 3) == "\xEF\xBB\xBF")
    line.remove_prefix(3);
  const auto is_first_byte = [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; };
  return {static_cast<std::size_t>(std::count(before.begin(), before.end(), '\n')) + 1,
          static_cast<std::size_t>(std::count_if(line.begin(), line.end(), is_first_byte)) + 1};
}

std::optional<Place> find_place(std::string_view text, std::string_view pointer) {
  Walker walker(text);
  std::size_t key_at = walker.at();
  while (!pointer.empty()) {
    pointer.remove_prefix(1);
    const std::string_view escaped = pointer.substr(0, pointer.find('/'));
    pointer.remove_prefix(escaped.size());
    std::string step;
    for (std::size_t i = 0; i < escaped.size(); ++i) {
      const bool escape = escaped[i] == '~' && i + 1 < escaped.size();
      step += escape ? (escaped[++i] == '1' ? '/' : '~') : escaped[i];
    }
    if (!enter(walker, step, &key_at)) return std::nullopt;
  }
  return Place{key_at, walker.at()};
}

std::string pointer_step(std::string_view key) {
  std::string step = "/";
  for (const char c : key) {
    if (c == '~') {
      step += "~0";
    } else if (c == '/') {
      step += "~1";
    } else {
      step += c;
    }
  }
  return step;
}

}  // namespace attn::config
