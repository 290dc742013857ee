// SPDX-License-Identifier: Apache-2.0
#include "core/schema/json_text.hpp"

#include <algorithm>

#include "core/error/error.hpp"

namespace attn::schema {
namespace {

constexpr int kMaxDepth = 64;

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  Json document() {
    Json result = value(0);
    if (peek() != '\0' || at_ < text_.size()) fail("unexpected text after the value");
    return result;
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw InvalidArgument("JSON text, byte " + std::to_string(at_ + 1) + ": " + what);
  }

  char peek() {
    at_ = std::min(text_.find_first_not_of(" \t\r\n", at_), text_.size());
    return at_ < text_.size() ? text_[at_] : '\0';
  }

  void expect(char c) {
    if (peek() != c) fail(std::string("expected '") + c + "'");
    ++at_;
  }

  Json word(std::string_view text, Json meaning) {
    if (text_.substr(at_, text.size()) != text) fail("expected " + std::string(text));
    at_ += text.size();
    return meaning;
  }

  Json value(int depth) {
    if (depth > kMaxDepth) fail("nested too deeply");
    switch (peek()) {
      case '{':
        return object(depth);
      case '[':
        return list(depth);
      case '"':
        return Json(string());
      case 't':
        return word("true", Json(true));
      case 'f':
        return word("false", Json(false));
      case 'n':
        return word("null", Json());
      default:
        return number();
    }
  }

  Json number() {
    const std::size_t end = std::min(text_.find_first_not_of("+-.0123456789eE", at_), text_.size());
    if (end == at_) fail("expected a value");
    Json result = Json::number(text_.substr(at_, end - at_));
    at_ = end;
    return result;
  }

  Json list(int depth) {
    Json::List elements;
    expect('[');
    while (peek() != ']') {
      if (!elements.empty()) expect(',');
      elements.push_back(value(depth + 1));
    }
    expect(']');
    return Json(std::move(elements));
  }

  Json object(int depth) {
    Json::Object members;
    expect('{');
    while (peek() != '}') {
      if (!members.empty()) expect(',');
      if (peek() != '"') fail("expected a key");
      std::string key = string();
      expect(':');
      members.emplace_back(std::move(key), value(depth + 1));
    }
    expect('}');
    return Json(std::move(members));
  }

  unsigned hex4() {
    if (text_.size() - at_ < 4) fail("expected four hexadecimal digits");
    unsigned code = 0;
    for (int i = 0; i < 4; ++i) {
      const std::size_t digit =
          std::string_view("0123456789abcdef").find(static_cast<char>(text_[at_] | 0x20));
      const bool good = (text_[at_] >= '0' && text_[at_] <= '9') || digit >= 10;
      if (!good || digit == std::string_view::npos) fail("expected four hexadecimal digits");
      code = code * 16 + static_cast<unsigned>(digit);
      ++at_;
    }
    return code;
  }

  void append_code_point(std::string& out) {
    unsigned code = hex4();
    if (code >= 0xD800 && code < 0xDC00 && text_.substr(at_, 2) == "\\u") {
      at_ += 2;
      const unsigned low = hex4();
      if (low < 0xDC00 || low > 0xDFFF) fail("half of a surrogate pair");
      code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
    } else if (code >= 0xD800 && code < 0xE000) {
      fail("half of a surrogate pair");
    }
    const auto tail = [&](unsigned shift) {
      out += static_cast<char>(0x80 | ((code >> shift) & 0x3F));
    };
    if (code < 0x80) {
      out += static_cast<char>(code);
    } else if (code < 0x800) {
      out += static_cast<char>(0xC0 | (code >> 6));
      tail(0);
    } else if (code < 0x10000) {
      out += static_cast<char>(0xE0 | (code >> 12));
      tail(6);
      tail(0);
    } else {
      out += static_cast<char>(0xF0 | (code >> 18));
      tail(12);
      tail(6);
      tail(0);
    }
  }

  std::string string() {
    std::string out;
    for (++at_;; ++at_) {
      if (at_ >= text_.size()) fail("the text ends inside quotes");
      const char c = text_[at_];
      if (c == '"') break;
      if (static_cast<unsigned char>(c) < 0x20) fail("control character inside quotes");
      if (c != '\\') {
        out += c;
        continue;
      }
      const char escaped = ++at_ < text_.size() ? text_[at_] : '\0';
      constexpr std::string_view kFrom = "\"\\/bfnrt", kTo = "\"\\/\b\f\n\r\t";
      if (escaped == 'u') {
        ++at_;
        append_code_point(out);
        --at_;
      } else if (const std::size_t which = kFrom.find(escaped); which != std::string_view::npos) {
        out += kTo[which];
      } else {
        fail("unknown escape");
      }
    }
    ++at_;
    return out;
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

}  // namespace

Json parse_json(std::string_view text) { return Parser(text).document(); }

}  // namespace attn::schema
