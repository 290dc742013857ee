// SPDX-License-Identifier: Apache-2.0
//
// Numbers of Json: text on one side, int64, uint64 and double on the other. Independent of the locale.
#include <algorithm>
#include <charconv>
#include <cmath>

#include "core/error/error.hpp"
#include "core/schema/json.hpp"

namespace attn {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// The grammar of RFC 8259. Sets *integer when there is neither fraction nor exponent.
bool is_json_number(std::string_view text, bool* integer) {
  std::size_t at = 0;
  const auto digits = [&] {
    const std::size_t begin = at;
    while (at < text.size() && is_digit(text[at])) ++at;
    return at > begin;
  };
  *integer = true;
  if (at < text.size() && text[at] == '-') ++at;
  if (at < text.size() && text[at] == '0') {
    ++at;
  } else if (!digits()) {
    return false;
  }
  if (at < text.size() && text[at] == '.') {
    *integer = false;
    ++at;
    if (!digits()) return false;
  }
  if (at < text.size() && (text[at] == 'e' || text[at] == 'E')) {
    *integer = false;
    ++at;
    if (at < text.size() && (text[at] == '+' || text[at] == '-')) ++at;
    if (!digits()) return false;
  }
  return at == text.size();
}

// Whether a nonzero number that does not fit a double is too large rather than too small: the sign of the
// decimal exponent of its first nonzero digit.
bool is_large(std::string_view text) {
  const std::size_t e = text.find_first_of("eE");
  const std::string_view mantissa = text.substr(0, e);
  const std::size_t point = std::min(mantissa.find('.'), mantissa.size());
  const std::size_t first = mantissa.find_first_of("123456789");
  if (first == std::string_view::npos) return false;
  const auto place = static_cast<std::int64_t>(point) - static_cast<std::int64_t>(first);
  if (e == std::string_view::npos) return place > 0;
  std::string_view digits = text.substr(e + 1);
  const bool negative = digits.front() == '-';
  if (negative || digits.front() == '+') digits.remove_prefix(1);
  std::int64_t exponent = 0;
  const auto result = std::from_chars(digits.data(), digits.data() + digits.size(), exponent);
  if (result.ec != std::errc()) return !negative;
  return (negative ? -exponent : exponent) + place > 0;
}

double parse_double(std::string_view text) {
  double value = 0.0;
  const auto result = std::from_chars(text.data(), text.data() + text.size(), value);
  if (result.ec == std::errc()) return value;
  const double magnitude = is_large(text) ? std::numeric_limits<double>::infinity() : 0.0;
  return text.front() == '-' ? -magnitude : magnitude;
}

template <class T>
std::optional<T> parse_integer(std::string_view text) {
  T value = 0;
  if (text == "-0") return value;
  const auto result = std::from_chars(text.data(), text.data() + text.size(), value);
  if (result.ec != std::errc() || result.ptr != text.data() + text.size()) return std::nullopt;
  return value;
}

}  // namespace

Json Json::number(std::string_view text) {
  bool integer = false;
  if (!is_json_number(text, &integer)) {
    throw InvalidArgument(json_quoted(text.substr(0, 80)) + " is not a JSON number");
  }
  if (!integer && !std::isfinite(parse_double(text))) {
    throw InvalidArgument("The number " + std::string(text.substr(0, 80)) +
                          " is too large for a double");
  }
  Json result;
  result.value_ = Number{std::string(text), integer};
  return result;
}

Json::Json(double value) : value_(Number{shortest(value), false}) {}

void Json::set_integer(std::int64_t value) { value_ = Number{std::to_string(value), true}; }

void Json::set_unsigned(std::uint64_t value) { value_ = Number{std::to_string(value), true}; }

std::optional<std::int64_t> Json::to_int64() const noexcept {
  const Number* number = std::get_if<Number>(&value_);
  if (number == nullptr || !number->integer) return std::nullopt;
  return parse_integer<std::int64_t>(number->text);
}

std::optional<std::uint64_t> Json::to_uint64() const noexcept {
  const Number* number = std::get_if<Number>(&value_);
  if (number == nullptr || !number->integer) return std::nullopt;
  return parse_integer<std::uint64_t>(number->text);
}

double Json::to_double() const { return parse_double(number_text()); }

int Json::sign() const {
  const std::string& text = number_text();
  if (text == "nan" || text == "-nan") return 0;
  const std::string_view mantissa = std::string_view(text).substr(0, text.find_first_of("eE"));
  const bool nonzero = text.find("inf") != std::string::npos ||
                       mantissa.find_first_of("123456789") != std::string_view::npos;
  if (!nonzero) return 0;
  // 1e-999 rounds to 0.0, and that is the number that counts.
  if (is_floating() && to_double() == 0.0) return 0;
  return text.front() == '-' ? -1 : 1;
}

bool Json::is_odd() const { return is_integer() && (number_text().back() - '0') % 2 != 0; }

std::string shortest(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  char buffer[40];
  const auto end =
      std::to_chars(buffer, buffer + sizeof(buffer), value, std::chars_format::scientific).ptr;
  const std::string_view text(buffer, static_cast<std::size_t>(end - buffer));
  const std::size_t e = text.find('e');
  int exponent = 0;
  std::from_chars(buffer + e + (text[e + 1] == '+' ? 2 : 1), end, exponent);
  if (exponent < -4 || exponent >= 16) return std::string(text);
  const auto fixed =
      std::to_chars(buffer, buffer + sizeof(buffer), value, std::chars_format::fixed).ptr;
  std::string result(buffer, fixed);
  if (result.find('.') == std::string::npos) result += ".0";
  return result;
}

}  // namespace attn
