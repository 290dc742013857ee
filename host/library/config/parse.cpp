// SPDX-License-Identifier: Apache-2.0
//
// Text to Json through Boost's streaming parser. Its own document model would round one in ten doubles by a
// unit in the last place, keep the last of repeated keys and turn large integers into doubles; the handler
// here takes the parser's events and keeps everything as it was written.
#include <boost/json/basic_parser_impl.hpp>
#include <cmath>
#include <limits>
#include <unordered_set>

#include "attn/config.hpp"
#include "host/library/config/position.hpp"

namespace attn {
namespace {

constexpr std::size_t kMaxDepth = 64;

using boost::json::error_code;
using boost::json::string_view;

// Builds the value. A refusal of ours leaves its reason and the text it is about in `refusal`.
class Handler {
 public:
  static constexpr std::size_t max_object_size = std::numeric_limits<std::size_t>::max();
  static constexpr std::size_t max_array_size = std::numeric_limits<std::size_t>::max();
  static constexpr std::size_t max_key_size = std::numeric_limits<std::size_t>::max();
  static constexpr std::size_t max_string_size = std::numeric_limits<std::size_t>::max();

  struct Refusal {
    std::string what, expected, hint, token;
  };
  Refusal refusal;
  Json root;

  bool on_document_begin(error_code&) { return true; }
  bool on_document_end(error_code&) { return true; }
  bool on_object_begin(error_code&) { return open(true); }
  bool on_object_end(std::size_t, error_code&) { return close(); }
  bool on_array_begin(error_code&) { return open(false); }
  bool on_array_end(std::size_t, error_code&) { return close(); }
  bool on_key_part(string_view part, std::size_t, error_code&) { return append(part); }
  bool on_string_part(string_view part, std::size_t, error_code&) { return append(part); }
  bool on_number_part(string_view part, error_code&) { return append(part); }
  bool on_int64(std::int64_t, string_view rest, error_code& ec) { return number(rest, ec); }
  bool on_uint64(std::uint64_t, string_view rest, error_code& ec) { return number(rest, ec); }
  bool on_double(double, string_view rest, error_code& ec) { return number(rest, ec); }
  bool on_bool(bool value, error_code&) { return add(Json(value)); }
  bool on_null(error_code&) { return add(Json()); }
  bool on_comment_part(string_view, error_code&) { return true; }
  bool on_comment(string_view, error_code&) { return true; }

  bool on_string(string_view rest, std::size_t, error_code& ec) {
    append(rest);
    if (has_nul(ec)) return false;
    return add(Json(std::exchange(text_, {})));
  }

  bool on_key(string_view rest, std::size_t, error_code& ec) {
    append(rest);
    if (has_nul(ec)) return false;
    Frame& frame = frames_.back();
    frame.key = std::exchange(text_, {});
    if (frame.keys.insert(frame.key).second) return true;
    refusal = {"key " + json_quoted(frame.key) + " is a duplicate key", "each key once",
               "remove one of the two", json_quoted(frame.key)};
    return refuse(ec);
  }

 private:
  struct Frame {
    bool object = false;
    Json::List list{};
    Json::Object members{};
    std::string key{};
    std::unordered_set<std::string> keys{};
  };

  static bool refuse(error_code& ec) {
    ec = boost::json::make_error_code(boost::json::error::exception);
    return false;
  }

  bool append(string_view part) {
    text_.append(part.data(), part.size());
    return true;
  }

  // Texts become C strings on their way to plugins and in messages; what is behind a NUL would be lost.
  bool has_nul(error_code& ec) {
    if (text_.find('\0') == std::string::npos) return false;
    refusal = {"a text holds the character \\u0000", "a text without it", "remove it", "\\u0000"};
    refuse(ec);
    return true;
  }

  bool number(string_view rest, error_code& ec) {
    append(rest);
    const std::string text = std::exchange(text_, {});
    try {
      return add(Json::number(text));
    } catch (const InvalidArgument&) {
      refusal = {"the number " + text.substr(0, 60) + " is too large", "a number below 1.8e308", "",
                 text};
      return refuse(ec);
    }
  }

  bool open(bool object) {
    frames_.emplace_back();
    frames_.back().object = object;
    return true;
  }

  bool close() {
    Frame frame = std::move(frames_.back());
    frames_.pop_back();
    return add(frame.object ? Json(std::move(frame.members)) : Json(std::move(frame.list)));
  }

  bool add(Json value) {
    if (frames_.empty()) {
      root = std::move(value);
    } else if (Frame& frame = frames_.back(); frame.object) {
      frame.members.emplace_back(std::move(frame.key), std::move(value));
    } else {
      frame.list.push_back(std::move(value));
    }
    return true;
  }

  std::vector<Frame> frames_;
  std::string text_;
};

bool begins_word(std::string_view text, std::string_view word) {
  return text.substr(0, word.size()) == word;
}

// What the text at an error looks like, and what to do about it.
std::string hint_for(std::string_view rest, std::string_view before) {
  if (begins_word(rest, "//") || begins_word(rest, "/*") || begins_word(rest, "#")) {
    return "JSON has no comments, remove it";
  }
  if (begins_word(rest, "'")) return "write texts in double quotes";
  if (begins_word(rest, "True") || begins_word(rest, "False") || begins_word(rest, "None")) {
    return "write true, false or null";
  }
  if (begins_word(rest, "NaN") || begins_word(rest, "Infinity"))
    return "JSON has finite numbers only";
  const std::size_t last = before.find_last_not_of(" \t\r\n");
  const bool after_comma = last != std::string_view::npos && before[last] == ',';
  if (after_comma && (begins_word(rest, "}") || begins_word(rest, "]")))
    return "remove the comma before it";
  return "";
}

std::string seen(std::string_view rest) {
  const auto c = static_cast<unsigned char>(rest.front());
  if (c < 0x20 || c == 0x7F) return "unexpected control character " + std::to_string(c);
  std::size_t length = 1;
  while (length < rest.size() && (static_cast<unsigned char>(rest[length]) & 0xC0) == 0x80)
    ++length;
  return "unexpected " + (c < 0x80 ? json_quoted(rest.substr(0, 1))
                                   : "'" + std::string(rest.substr(0, length)) + "'");
}

// The first byte that does not belong to well-formed UTF-8, or npos.
std::size_t find_bad_utf8(std::string_view text) {
  const auto byte = [&](std::size_t i) {
    return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u;
  };
  for (std::size_t i = 0; i < text.size();) {
    const unsigned first = byte(i);
    if (first < 0x80) {
      ++i;
      continue;
    }
    const std::size_t length = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
    if (first < 0xC2 || first > 0xF4) return i;
    // The second byte is narrower after four of the first ones: no overlong forms, surrogates, or > U+10FFFF.
    const unsigned low = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
    const unsigned high = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
    if (byte(i + 1) < low || byte(i + 1) > high) return i;
    for (std::size_t k = 2; k < length; ++k) {
      if (byte(i + k) < 0x80 || byte(i + k) > 0xBF) return i;
    }
    i += length;
  }
  return std::string_view::npos;
}

[[noreturn]] void throw_at(std::string_view text, std::size_t offset, std::string_view origin,
                           const std::string& what, const std::string& expected,
                           const std::string& hint) {
  const Position at = config::position_of(text, offset);
  ErrorDetails details;
  details.where =
      std::string(origin) + ":" + std::to_string(at.line) + ":" + std::to_string(at.column);
  details.expected = expected;
  details.hint = hint;
  std::string message = details.where + ": " + what;
  if (!expected.empty()) message += ", expected " + expected;
  if (!hint.empty()) message += "; " + hint;
  throw InvalidArgument(message, std::move(details));
}

[[noreturn]] void throw_syntax(std::string_view text, std::size_t offset, std::string_view origin,
                               const error_code& ec) {
  using boost::json::error;
  const std::string_view rest = text.substr(std::min(offset, text.size()));
  const std::string_view before = text.substr(0, offset);
  if (text.find_first_not_of(" \t\r\n") == std::string_view::npos) {
    throw_at(text, offset, origin, "the text is empty", "a JSON value", "write at least {}");
  }
  if (ec == error::too_deep) {
    throw_at(text, offset, origin, "nested too deeply",
             "at most " + std::to_string(kMaxDepth) + " levels", "");
  }
  if (ec == error::incomplete || rest.empty()) {
    throw_at(text, text.size(), origin, "the text ends too early", "the rest of the value",
             "close what is open: quotes, brackets, braces");
  }
  if (ec == error::extra_data) {
    throw_at(text, offset, origin, seen(rest) + " after the value", "the end of the text",
             hint_for(rest, before));
  }
  if (ec == error::exponent_overflow) {
    throw_at(text, offset, origin, "the exponent of a number is out of range",
             "a number that a double can hold", "");
  }
  throw_at(text, offset, origin, seen(rest) + " (" + ec.message() + ")", "JSON",
           hint_for(rest, before));
}

}  // namespace

Json parse_config(std::string_view text, std::string_view origin) {
  const std::string_view mark = "\xEF\xBB\xBF";
  const std::size_t skipped = text.substr(0, mark.size()) == mark ? mark.size() : 0;
  if (text.substr(0, 2) == "\xFF\xFE" || text.substr(0, 2) == "\xFE\xFF") {
    throw_at(text, 0, origin, "the text is UTF-16", "UTF-8", "save the file as UTF-8");
  }
  const std::size_t bad = find_bad_utf8(text);
  if (bad != std::string_view::npos) {
    throw_at(text, bad, origin, "bytes that are not UTF-8", "UTF-8", "save the file as UTF-8");
  }
  boost::json::parse_options options;
  options.max_depth = kMaxDepth;
  boost::json::basic_parser<Handler> parser(options);
  error_code ec;
  const std::size_t used =
      parser.write_some(false, text.data() + skipped, text.size() - skipped, ec) + skipped;
  Handler& handler = parser.handler();
  if (!handler.refusal.what.empty()) {
    const std::size_t begin = text.rfind(handler.refusal.token, used);
    throw_at(text, begin == std::string_view::npos ? used : begin, origin, handler.refusal.what,
             handler.refusal.expected, handler.refusal.hint);
  }
  if (!ec && used < text.size()) ec = boost::json::make_error_code(boost::json::error::extra_data);
  if (ec) throw_syntax(text, used, origin, ec);
  return std::move(handler.root);
}

}  // namespace attn
