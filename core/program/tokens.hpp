// SPDX-License-Identifier: Apache-2.0
//
// Words of a score program. [any-thread]
#pragma once

#include <string_view>

#include "core/program/text.hpp"

namespace attn::program {

struct Token {
  enum Kind : uint8_t { whole, real, name, sign, end } kind = end;
  std::string_view text{};
  size_t at = 0;
  int64_t integer = 0;
  double number = 0;
};

class Tokens {
 public:
  Tokens(Kind kind, std::string_view text) : kind_(kind), text_(text) { next(); }

  [[nodiscard]] const Token& now() const { return now_; }
  [[nodiscard]] size_t last_end() const { return last_end_; }  // of the token before this one
  [[nodiscard]] bool is(std::string_view sign) const {
    return (now_.kind == Token::sign || now_.kind == Token::name) && now_.text == sign;
  }
  // Steps over the token when it is `sign`.
  bool take(std::string_view sign) {
    if (!is(sign)) return false;
    next();
    return true;
  }
  void next();

 private:
  void read_number();
  void read_sign();

  Kind kind_;
  std::string_view text_;
  size_t at_ = 0, last_end_ = 0;
  Token now_;
};

}  // namespace attn::program
