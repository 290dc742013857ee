// SPDX-License-Identifier: Apache-2.0
//
// What readers and writers of files share: refusing with all four parts of a message, and printing text that
// came from a file so that it cannot disturb the message it stands in. [any-thread]
#pragma once

#include <string>
#include <string_view>
#include <system_error>

#include "core/error/error.hpp"

namespace attn::weights {

[[noreturn]] inline void refuse_file(const std::string& where, const std::string& found,
                                     const std::string& expected,
                                     const std::string& hint = "fetch or write the file again") {
  throw InvalidArgument(where + ": " + found + "; expected " + expected + "; " + hint,
                        {where, {}, {}, found, expected, hint});
}

[[nodiscard]] inline std::string errno_text(int code) {
  return std::generic_category().message(code);
}

// In quotes, control and foreign bytes as \xNN, cut after 80 bytes.
[[nodiscard]] inline std::string quoted(std::string_view text) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string out = "'";
  for (const char c : text.substr(0, 80)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte > 0x7e) {
      out += "\\x";
      out += kDigits[byte >> 4];
      out += kDigits[byte & 15];
    } else {
      out += c;
    }
  }
  return out + (text.size() > 80 ? "...'" : "'");
}

}  // namespace attn::weights
