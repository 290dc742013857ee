// SPDX-License-Identifier: Apache-2.0
#include "core/weights/safetensors_header.hpp"

#include <algorithm>
#include <array>
#include <limits>
#include <set>
#include <utility>

#include "core/weights/header_text.hpp"

namespace attn::weights {
namespace {

constexpr size_t kMaxRank = 64;

struct FileKind {
  std::string_view name;
  uint64_t bits;
};

// Every kind of the format; those that attn_dtype lacks, and any other, can be listed, not read.
constexpr std::array<FileKind, 22> kFileKinds{
    {{"F4", 4},          {"F6_E2M3", 6}, {"F6_E3M2", 6}, {"BOOL", 8},    {"U8", 8},
     {"I8", 8},          {"F8_E5M2", 8}, {"F8_E4M3", 8}, {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8},
     {"F8_E5M2FNUZ", 8}, {"I16", 16},    {"U16", 16},    {"F16", 16},    {"BF16", 16},
     {"I32", 32},        {"U32", 32},    {"F32", 32},    {"F64", 64},    {"I64", 64},
     {"U64", 64},        {"C64", 64}}};

// Length of the sequence at text[i], or 0 when it is not valid UTF-8.
size_t utf8_length(std::string_view text, size_t i) noexcept {
  const auto byte = [&](size_t k) -> unsigned {
    return k < text.size() ? static_cast<unsigned char>(text[k]) : 0u;
  };
  const unsigned lead = byte(i);
  if (lead < 0x80) return 1;
  const size_t n = lead >= 0xc2 && lead <= 0xdf   ? 2
                   : (lead & 0xf0) == 0xe0        ? 3
                   : lead >= 0xf0 && lead <= 0xf4 ? 4
                                                  : 0;
  for (size_t k = 1; k < n; ++k) {
    if ((byte(i + k) & 0xc0) != 0x80) return 0;
  }
  const unsigned second = byte(i + 1);
  const bool bad = (lead == 0xe0 && second < 0xa0) || (lead == 0xed && second > 0x9f) ||
                   (lead == 0xf0 && second < 0x90) || (lead == 0xf4 && second > 0x8f);
  return bad ? 0 : n;
}

void append_utf8(std::string& out, uint32_t c) {
  const auto put = [&](uint32_t byte) {
    out += static_cast<char>(static_cast<unsigned char>(byte));
  };
  if (c < 0x80) {
    put(c);
  } else if (c < 0x800) {
    put(0xc0 | (c >> 6));
    put(0x80 | (c & 0x3f));
  } else if (c < 0x10000) {
    put(0xe0 | (c >> 12));
    put(0x80 | ((c >> 6) & 0x3f));
    put(0x80 | (c & 0x3f));
  } else {
    put(0xf0 | (c >> 18));
    put(0x80 | ((c >> 12) & 0x3f));
    put(0x80 | ((c >> 6) & 0x3f));
    put(0x80 | (c & 0x3f));
  }
}

class Parser {
 public:
  Parser(std::string_view text, const std::string& file) : text_(text), file_(file) {}

  SafetensorsHeader run() {
    if (peek() != '{') fail("'{' as the first byte");
    SafetensorsHeader header;
    std::set<std::string> names;
    object([&](std::string name) {
      if (!names.insert(name).second)
        refuse_file(file_, "tensor " + quoted(name) + " occurs twice", "each name once");
      if (name == "__metadata__") {
        if (peek() == 'n') return word("null");
        metadata(header);
      } else {
        header.entries.push_back(entry(std::move(name)));
      }
    });
    skip_space();
    if (at_ != text_.size()) fail("nothing but white space behind the header");
    return header;
  }

 private:
  [[noreturn]] void fail(const std::string& expected) const {
    const std::string found =
        at_ < text_.size() ? quoted(text_.substr(at_, 1)) : std::string("the end of the header");
    refuse_file(file_ + ": header byte " + std::to_string(at_), "found " + found, expected);
  }

  // NUL stands for the end: the grammar has no NUL outside of strings, and those check the end themselves.
  [[nodiscard]] char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }

  void skip_space() {
    while (at_ < text_.size() &&
           (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\r' || text_[at_] == '\t'))
      ++at_;
  }

  void take(char c) {
    skip_space();
    if (peek() != c) fail(std::string("'") + c + "'");
    ++at_;
  }

  // True when a comma follows, false when `close` does; both are taken.
  bool another(char close) {
    skip_space();
    const char c = peek();
    if (c != ',' && c != close) fail(std::string("',' or '") + close + "'");
    ++at_;
    return c == ',';
  }

  // member(key) reads the value.
  template <class Member>
  void object(Member&& member) {
    take('{');
    skip_space();
    if (peek() == '}') {
      ++at_;
      return;
    }
    do {
      skip_space();
      std::string key = string();
      take(':');
      skip_space();
      member(std::move(key));
    } while (another('}'));
  }

  void metadata(SafetensorsHeader& header) {
    object([&](std::string key) {
      std::string value = string();
      if (!header.metadata.emplace(key, std::move(value)).second) {
        refuse_file(file_ + ": __metadata__", "key " + quoted(key) + " occurs twice",
                    "each key once");
      }
    });
  }

  SafetensorsEntry entry(std::string name) {
    const std::string where = file_ + ": tensor " + quoted(name);
    SafetensorsEntry e;
    e.name = std::move(name);
    bool has_dtype = false;
    bool has_shape = false;
    bool has_offsets = false;
    object([&](const std::string& key) {
      const auto once = [&](bool& seen) {
        if (seen) refuse_file(where, "key " + quoted(key) + " occurs twice", "each key once");
        seen = true;
      };
      if (key == "dtype") {
        once(has_dtype);
        e.dtype_name = string();
      } else if (key == "shape") {
        once(has_shape);
        e.shape = integers(where, kMaxRank);
      } else if (key == "data_offsets") {
        once(has_offsets);
        const std::vector<int64_t> offsets = integers(where, 2);
        if (offsets.size() != 2) {
          refuse_file(where, std::to_string(offsets.size()) + " data_offsets", "2: begin and end");
        }
        e.begin = static_cast<uint64_t>(offsets[0]);
        e.end = static_cast<uint64_t>(offsets[1]);
      } else {
        skip_value();
      }
    });
    if (!has_dtype || !has_shape || !has_offsets) {
      const char* missing = !has_dtype ? "dtype" : !has_shape ? "shape" : "data_offsets";
      refuse_file(where, std::string("key '") + missing + "' is missing",
                  "dtype, shape and data_offsets");
    }
    return e;
  }

  std::vector<int64_t> integers(const std::string& where, size_t most) {
    std::vector<int64_t> list;
    take('[');
    skip_space();
    if (peek() == ']') {
      ++at_;
      return list;
    }
    do {
      if (list.size() == most)
        refuse_file(where, "a list with more than " + std::to_string(most) + " numbers",
                    "at most that many");
      skip_space();
      list.push_back(integer());
    } while (another(']'));
    return list;
  }

  int64_t integer() {
    constexpr int64_t kMost = std::numeric_limits<int64_t>::max();
    const auto digit = [&] { return peek() >= '0' && peek() <= '9'; };
    if (!digit()) fail("an integer from 0 on");
    if (peek() == '0') {
      ++at_;
      if (digit()) fail("an integer without leading zeros");
    }
    int64_t value = 0;
    while (digit()) {
      const int d = peek() - '0';
      if (value > (kMost - d) / 10) fail("an integer below 2^63");
      value = 10 * value + d;
      ++at_;
    }
    return value;  // a fraction or an exponent is met by whoever expects ',' or ']'
  }

  // Any JSON value, of any depth. What is open is kept in a text, so depth costs no stack.
  void skip_value() {
    std::string open;
    const auto key = [&] {
      skip_space();
      static_cast<void>(string());
      take(':');
    };
    const auto closes = [&] { return peek() == (open.back() == '{' ? '}' : ']'); };
    for (;;) {
      skip_space();
      if (peek() == '{' || peek() == '[') {
        open += text_[at_++];
        skip_space();
        if (!closes()) {
          if (open.back() == '{') key();
          continue;
        }
      } else {
        scalar();
      }
      for (;;) {
        if (open.empty()) return;
        skip_space();
        if (!closes()) break;
        open.pop_back();
        ++at_;
      }
      take(',');
      if (open.back() == '{') key();
    }
  }

  void scalar() {
    if (peek() == '"') return static_cast<void>(string());
    if (peek() == 't') return word("true");
    if (peek() == 'f') return word("false");
    if (peek() == 'n') return word("null");
    const auto digits = [&] {
      if (peek() < '0' || peek() > '9') fail("a JSON value");
      const size_t begin = at_;
      while (peek() >= '0' && peek() <= '9') ++at_;
      return text_.substr(begin, at_ - begin);
    };
    if (peek() == '-') ++at_;
    if (const auto whole = digits(); whole[0] == '0' && whole.size() > 1)
      fail("a number without leading zeros before this");
    if (peek() == '.') {
      ++at_;
      digits();
    }
    if (peek() == 'e' || peek() == 'E') {
      ++at_;
      if (peek() == '+' || peek() == '-') ++at_;
      digits();
    }
  }

  void word(std::string_view expected) {
    if (text_.substr(at_, expected.size()) != expected) fail(std::string(expected));
    at_ += expected.size();
  }

  std::string string() {
    if (peek() != '"') fail("a text in double quotes");
    ++at_;
    std::string out;
    for (;;) {
      if (at_ >= text_.size()) fail("'\"' at the end of a text");
      const char c = text_[at_];
      if (c == '"') {
        ++at_;
        return out;
      }
      if (static_cast<unsigned char>(c) < 0x20) fail("control characters written as \\u00NN");
      if (c == '\\') {
        ++at_;
        escape(out);
        continue;
      }
      const size_t n = utf8_length(text_, at_);
      if (n == 0) fail("valid UTF-8");
      out.append(text_.substr(at_, n));
      at_ += n;
    }
  }

  void escape(std::string& out) {
    constexpr std::string_view kLetters = "\"\\/bfnrt";
    constexpr std::string_view kMeaning = "\"\\/\b\f\n\r\t";
    const char c = peek();
    if (c == 'u') {
      ++at_;
      uint32_t code = hex4();
      if (code >= 0xd800 && code <= 0xdbff) {
        if (text_.substr(at_, 2) != "\\u") fail("the second half of a surrogate pair");
        at_ += 2;
        const uint32_t low = hex4();
        if (low < 0xdc00 || low > 0xdfff) fail("the second half of a surrogate pair before this");
        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
      } else if (code >= 0xdc00 && code <= 0xdfff) {
        fail("the first half of a surrogate pair before this");
      }
      append_utf8(out, code);
      return;
    }
    const size_t i = c == '\0' ? std::string_view::npos : kLetters.find(c);
    if (i == std::string_view::npos) fail("one of \" \\ / b f n r t u behind a backslash");
    out += kMeaning[i];
    ++at_;
  }

  uint32_t hex4() {
    uint32_t value = 0;
    for (int i = 0; i < 4; ++i) {
      const char c = peek();
      uint32_t d = 0;
      if (c >= '0' && c <= '9') {
        d = static_cast<uint32_t>(c - '0');
      } else if (c >= 'a' && c <= 'f') {
        d = static_cast<uint32_t>(c - 'a') + 10;
      } else if (c >= 'A' && c <= 'F') {
        d = static_cast<uint32_t>(c - 'A') + 10;
      } else {
        fail("four hexadecimal digits behind \\u");
      }
      value = 16 * value + d;
      ++at_;
    }
    return value;
  }

  std::string_view text_;
  const std::string& file_;
  size_t at_ = 0;
};

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string text = "(";
  for (size_t i = 0; i < shape.size(); ++i) text += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
  return text + ")";
}

void check_entry(SafetensorsEntry& e, uint64_t data_bytes, const std::string& file) {
  const std::string where = file + ": tensor " + quoted(e.name);
  const auto* kind = std::find_if(kFileKinds.begin(), kFileKinds.end(),
                                  [&](const FileKind& k) { return k.name == e.dtype_name; });
  e.dtype = dtype_from_safetensors_name(e.dtype_name);
  // The product of what is not 0 must fit too: strides are made of it.
  const bool known = kind != kFileKinds.end();
  uint64_t bits = known ? kind->bits : 8;
  bool zero = false;
  for (const int64_t n : e.shape) {
    zero = zero || n == 0;
    if (n == 0) continue;
    if (bits >
        static_cast<uint64_t>(std::numeric_limits<int64_t>::max()) / static_cast<uint64_t>(n)) {
      refuse_file(where, "shape " + shape_text(e.shape) + " has too many elements",
                  "fewer than 2^63 bits");
    }
    bits *= static_cast<uint64_t>(n);
  }
  if (zero) bits = 0;
  if (bits % 8 != 0) {
    refuse_file(where,
                e.dtype_name + " " + shape_text(e.shape) + " has " + std::to_string(bits) + " bits",
                "whole bytes");
  }
  const std::string offsets =
      "data_offsets [" + std::to_string(e.begin) + ", " + std::to_string(e.end) + "]";
  if (e.begin > e.end) refuse_file(where, offsets + " run backwards", "begin <= end");
  if (e.end > data_bytes) {
    refuse_file(where, offsets + " leave the file",
                "at most " + std::to_string(data_bytes) + " bytes of data");
  }
  if (known && e.end - e.begin != bits / 8) {
    refuse_file(where, offsets + " span " + std::to_string(e.end - e.begin) + " bytes",
                std::to_string(bits / 8) + " for " + e.dtype_name + " " + shape_text(e.shape));
  }
}

void append_json_text(std::string& out, std::string_view text) {
  constexpr char kDigits[] = "0123456789abcdef";
  out += '"';
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (byte < 0x20) {
      out += "\\u00";
      out += kDigits[byte >> 4];
      out += kDigits[byte & 15];
    } else {
      out += c;
    }
  }
  out += '"';
}

}  // namespace

bool is_utf8(std::string_view text) noexcept {
  for (size_t i = 0; i < text.size();) {
    const size_t n = utf8_length(text, i);
    if (n == 0) return false;
    i += n;
  }
  return true;
}

SafetensorsHeader parse_safetensors_header(std::string_view text, uint64_t data_bytes,
                                           const std::string& file) {
  SafetensorsHeader header = Parser(text, file).run();
  for (SafetensorsEntry& e : header.entries) check_entry(e, data_bytes, file);
  std::stable_sort(header.entries.begin(), header.entries.end(),
                   [](const SafetensorsEntry& a, const SafetensorsEntry& b) {
                     return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
                   });
  uint64_t end = 0;
  for (const SafetensorsEntry& e : header.entries) {
    if (e.begin != end) {
      refuse_file(
          file + ": tensor " + quoted(e.name),
          std::string(e.begin < end ? "overlaps another tensor" : "leaves a gap before it") +
              ": its data begin at " + std::to_string(e.begin),
          std::to_string(end));
    }
    end = e.end;
  }
  if (end != data_bytes) {
    refuse_file(file, std::to_string(data_bytes) + " bytes of data",
                std::to_string(end) + ", which is where the last tensor ends");
  }
  return header;
}

std::string format_safetensors_header(const SafetensorsHeader& header) {
  std::string out = "{";
  if (!header.metadata.empty()) {
    out += "\"__metadata__\":{";
    bool first = true;
    for (const auto& [key, value] : header.metadata) {
      if (!first) out += ',';
      first = false;
      append_json_text(out, key);
      out += ':';
      append_json_text(out, value);
    }
    out += '}';
  }
  for (const SafetensorsEntry& e : header.entries) {
    if (out.size() > 1) out += ',';
    append_json_text(out, e.name);
    out += ":{\"dtype\":\"" + e.dtype_name + "\",\"shape\":[";
    for (size_t i = 0; i < e.shape.size(); ++i)
      out += (i == 0 ? "" : ",") + std::to_string(e.shape[i]);
    out += "],\"data_offsets\":[" + std::to_string(e.begin) + "," + std::to_string(e.end) + "]}";
  }
  out += '}';
  while (out.size() % 8 != 0) out += ' ';
  return out;
}

}  // namespace attn::weights
