// SPDX-License-Identifier: Apache-2.0
//
// The axes of a shape as types declare it: "batch, query, dim" is {"batch", "query", "dim"}.
#pragma once

#include <string>
#include <vector>

namespace attn::check {

inline std::vector<std::string> axis_names(const std::string& text) {
  std::vector<std::string> out(1);
  for (const char c : text)
    if (c == ',')
      out.emplace_back();
    else if (c != ' ')
      out.back() += c;
  return out;
}

// An extent that is always the same: "batch, seq, 8".
inline bool is_number(const std::string& axis) {
  return !axis.empty() && axis.size() < 10 &&
         axis.find_first_not_of("0123456789") == std::string::npos;
}

}  // namespace attn::check
