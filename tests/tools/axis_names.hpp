// SPDX-License-Identifier: Apache-2.0
//
// The axes of a shape as types declare it: "batch, query, dim" is {"batch", "query", "dim"}.
#pragma once

#include <string>
#include <vector>

namespace attn::test {

inline std::vector<std::string> axis_names(const std::string& text) {
  std::vector<std::string> out(1);
  for (const char c : text)
    if (c == ',')
      out.emplace_back();
    else if (c != ' ')
      out.back() += c;
  return out;
}

}  // namespace attn::test
