// SPDX-License-Identifier: Apache-2.0
#include "core/schema/text.hpp"

#include <algorithm>

namespace attn::schema {
namespace {

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }
bool is_capital(char c) { return c >= 'A' && c <= 'Z'; }
bool is_small(char c) { return c >= 'a' && c <= 'z'; }

}  // namespace

std::string name_list(const Names& names) {
  std::string text = "[";
  for (const std::string& name : names) text += (text.size() > 1 ? ", '" : "'") + name + "'";
  return text + "]";
}

Names sorted(Names names) {
  std::sort(names.begin(), names.end());
  return names;
}

std::string snake_case(std::string_view class_name) {
  std::string result;
  for (std::size_t i = 0; i < class_name.size(); ++i) {
    const char c = class_name[i];
    if (is_capital(c) && i > 0 && class_name[i - 1] != '_') {
      const bool before_small = i + 1 < class_name.size() && is_small(class_name[i + 1]);
      if (before_small || is_small(class_name[i - 1])) result += '_';
    }
    result += lower(c);
  }
  return result;
}

}  // namespace attn::schema
