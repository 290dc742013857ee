// SPDX-License-Identifier: Apache-2.0
#include "core/schema/suggest.hpp"

#include <algorithm>

namespace attn::schema {

namespace {

// Insertions, deletions, replacements and exchanges of neighbours, three rows at a time.
size_t distance(std::string_view a, std::string_view b) {
  std::vector<size_t> before(b.size() + 1), last(b.size() + 1), row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) last[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replace = last[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, replace});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        row[j] = std::min(row[j], before[j - 2] + 1);
    }
    std::swap(before, last);
    std::swap(last, row);
  }
  return last[b.size()];
}

}  // namespace

std::string did_you_mean(std::string_view name, const std::vector<std::string>& candidates) {
  constexpr size_t kLongest = 64;  // longer ones are no slips of the finger
  if (name.empty() || name.size() > kLongest) return "";
  const std::string* best = nullptr;
  size_t nearest = std::max<size_t>(1, name.size() / 3) + 1;
  for (const std::string& c : candidates) {
    if (c.size() > kLongest) continue;
    const size_t d = distance(name, c);
    if (d < nearest) {
      nearest = d;
      best = &c;
    }
  }
  return best ? "did you mean '" + *best + "'?" : "";
}

}  // namespace attn::schema
