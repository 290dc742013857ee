// SPDX-License-Identifier: Apache-2.0
#include "core/program/tokens.hpp"

#include <charconv>
#include <cmath>

namespace attn::program {
namespace {

bool is_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }

// Longer ones first. What other languages have and this one has not is here for its message.
constexpr std::string_view kSigns[] = {"**", "||", "&&", "<=", ">=", "==", "!=", "//", "<<",
                                       ">>", "(",  ")",  "[",  "]",  ",",  "?",  ":",  "<",
                                       ">",  "+",  "-",  "*",  "/",  "%",  "!"};

}  // namespace

void Tokens::next() {
  last_end_ = at_;
  while (at_ < text_.size() && is_space(text_[at_])) ++at_;
  now_ = {Token::end, {}, at_, 0, 0};
  if (at_ == text_.size()) return;
  const char c = text_[at_];
  if (is_digit(c) || (c == '.' && at_ + 1 < text_.size() && is_digit(text_[at_ + 1])))
    return read_number();
  if (!is_letter(c)) return read_sign();
  size_t end = at_;
  while (end < text_.size() && (is_letter(text_[end]) || is_digit(text_[end]))) ++end;
  now_.kind = Token::name;
  now_.text = text_.substr(at_, end - at_);
  at_ = end;
}

void Tokens::read_number() {
  const size_t begin = at_;
  const auto digits = [&] {
    while (at_ < text_.size() && is_digit(text_[at_])) ++at_;
  };
  digits();
  bool real = at_ < text_.size() && text_[at_] == '.';
  if (real) ++at_, digits();
  if (at_ < text_.size() && (text_[at_] == 'e' || text_[at_] == 'E')) {
    size_t power = at_ + 1;
    if (power < text_.size() && (text_[power] == '+' || text_[power] == '-')) ++power;
    if (power < text_.size() && is_digit(text_[power])) {
      at_ = power;
      digits();
      real = true;
    }
  }
  now_.text = text_.substr(begin, at_ - begin);
  if (at_ < text_.size() && (is_letter(text_[at_]) || text_[at_] == '.'))
    refuse(kind_, text_, at_, "a number is followed by '" + std::string(1, text_[at_]) + "'",
           "an operator", "write 2 * x for a product");
  const char *first = now_.text.data(), *last = first + now_.text.size();
  now_.kind = real ? Token::real : Token::whole;
  const auto error = real ? std::from_chars(first, last, now_.number).ec
                          : std::from_chars(first, last, now_.integer).ec;
  if (error != std::errc() || (real && !std::isfinite(now_.number)))
    refuse(kind_, text_, begin, "the number is out of range",
           real ? "a magnitude of at most 1.8e308" : "at most 2147483647",
           real ? "" : "write it with a point for a real number");
  if (!real && now_.integer > kMostWhole)
    refuse(kind_, text_, begin, "a whole number has at most 32 bits", "at most 2147483647",
           "write " + std::string(now_.text) + ".0 for a real number");
}

void Tokens::read_sign() {
  for (const std::string_view sign : kSigns) {
    if (text_.substr(at_, sign.size()) != sign) continue;
    if (sign == "**") refuse(kind_, text_, at_, "'**' is no operator", "a product", "write x * x");
    if (sign == "<<" || sign == ">>")
      refuse(kind_, text_, at_, "'" + std::string(sign) + "' is no operator",
             "a product or a quotient", "write x * 4 or x // 4");
    now_.kind = Token::sign;
    now_.text = text_.substr(at_, sign.size());
    at_ += sign.size();
    return;
  }
  const char c = text_[at_];
  if (c == '=') refuse(kind_, text_, at_, "'=' assigns", "'=='", "write x == y to compare");
  if (c == '&' || c == '|')
    refuse(kind_, text_, at_, std::string("'") + c + "' is no operator",
           std::string("'") + c + c + "'", "");
  const bool plain = c > ' ' && c < 127;
  refuse(kind_, text_, at_,
         plain ? std::string("'") + c + "' has no meaning here" : "a byte that is no ASCII sign",
         "a number, a name or an operator", "");
}

}  // namespace attn::program
