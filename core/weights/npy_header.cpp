// SPDX-License-Identifier: Apache-2.0
#include "core/weights/npy_header.hpp"

#include <limits>

#include "core/weights/header_text.hpp"

namespace attn::weights {
namespace {

constexpr size_t kMaxRank = 64;

class Parser {
 public:
  Parser(std::string_view text, const std::string& file) : text_(text), file_(file) {}

  NpyDictionary run() {
    NpyDictionary d;
    bool descr = false;
    bool order = false;
    bool shape = false;
    take('{');
    while (!skip_to('}')) {
      const std::string key = string();
      take(':');
      skip_space();
      if (key == "descr") {
        once(descr, key);
        if (peek() == '[') {
          refuse_file(file_, "the elements are records", "one number each",
                      "save the fields one by one");
        }
        d.descr = string();
      } else if (key == "fortran_order") {
        once(order, key);
        d.fortran_order = boolean();
      } else if (key == "shape") {
        once(shape, key);
        d.shape = tuple();
      } else {
        refuse_file(file_, "unknown key " + quoted(key) + " in the header",
                    "descr, fortran_order and shape");
      }
      if (!skip_to('}')) take(',');
    }
    take('}');
    skip_space();
    if (at_ != text_.size()) fail("nothing behind '}'");
    if (!descr || !order || !shape) {
      const char* missing = !descr ? "descr" : !order ? "fortran_order" : "shape";
      refuse_file(file_, std::string("key '") + missing + "' is missing in the header",
                  "descr, fortran_order and shape");
    }
    return d;
  }

 private:
  [[noreturn]] void fail(const std::string& expected) const {
    const std::string found =
        at_ < text_.size() ? quoted(text_.substr(at_, 1)) : std::string("the end of the header");
    refuse_file(file_ + ": header character " + std::to_string(at_), "found " + found, expected);
  }

  void once(bool& seen, const std::string& key) const {
    if (seen)
      refuse_file(file_, "key " + quoted(key) + " occurs twice in the header", "each key once");
    seen = true;
  }

  [[nodiscard]] char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }

  void skip_space() {
    while (at_ < text_.size() &&
           (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\t' || text_[at_] == '\r'))
      ++at_;
  }

  bool skip_to(char c) {
    skip_space();
    return peek() == c;
  }

  void take(char c) {
    if (!skip_to(c)) fail(std::string("'") + c + "'");
    ++at_;
  }

  std::string string() {
    if (peek() == 'u') ++at_;  // Python 2
    const char quote = peek();
    if (quote != '\'' && quote != '"') fail("a text in quotes");
    const size_t end = text_.find(quote, ++at_);
    const std::string_view text =
        text_.substr(at_, end == std::string_view::npos ? end : end - at_);
    if (end == std::string_view::npos || text.find_first_of("\\\n") != std::string_view::npos) {
      fail("a text without escapes that ends with the quote it began with");
    }
    at_ = end + 1;
    return std::string(text);
  }

  bool boolean() {
    for (const std::string_view word : {"True", "False"}) {
      if (text_.substr(at_, word.size()) == word) {
        at_ += word.size();
        return word == "True";
      }
    }
    fail("True or False");
  }

  std::vector<int64_t> tuple() {
    std::vector<int64_t> list;
    take('(');
    bool comma = true;
    while (!skip_to(')')) {
      if (!comma) fail("',' or ')'");
      if (list.size() == kMaxRank) fail("at most " + std::to_string(kMaxRank) + " extents");
      list.push_back(integer());
      comma = skip_to(',');
      if (comma) ++at_;
    }
    if (list.size() == 1 && !comma) fail("a comma behind the only extent: (3,)");
    ++at_;
    return list;
  }

  int64_t integer() {
    constexpr int64_t kMost = std::numeric_limits<int64_t>::max();
    const auto digit = [&] { return peek() >= '0' && peek() <= '9'; };
    if (!digit()) fail("an integer from 0 on");
    int64_t value = 0;
    const bool zero = peek() == '0';
    const size_t begin = at_;
    while (digit()) {
      const int d = peek() - '0';
      if (value > (kMost - d) / 10) fail("an integer below 2^63");
      value = 10 * value + d;
      ++at_;
    }
    if (zero && at_ - begin > 1) fail("an integer without leading zeros before this");
    if (skip_to('L')) ++at_;  // a long integer of Python 2
    return value;
  }

  std::string_view text_;
  const std::string& file_;
  size_t at_ = 0;
};

}  // namespace

NpyDictionary parse_npy_dictionary(std::string_view text, const std::string& file) {
  return Parser(text, file).run();
}

}  // namespace attn::weights
