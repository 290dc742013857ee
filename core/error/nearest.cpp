// SPDX-License-Identifier: Apache-2.0
#include "core/error/nearest.hpp"

#include <algorithm>
#include <numeric>

namespace attn {
namespace {

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

// Optimal string alignment: insertions, deletions, replacements and swaps of neighbours cost 1.
std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> before_last(b.size() + 1), last(b.size() + 1), row(b.size() + 1);
  std::iota(last.begin(), last.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      row[j] =
          std::min({last[j] + 1, row[j - 1] + 1, last[j - 1] + (a[i - 1] == b[j - 1] ? 0u : 1u)});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        row[j] = std::min(row[j], before_last[j - 2] + 1);
      }
    }
    before_last.swap(last);
    last.swap(row);
  }
  return last[b.size()];
}

// The words of a name with underscores that are long enough to mean something.
std::vector<std::string> long_words(const std::string& name) {
  constexpr std::size_t kLong = 5;
  std::vector<std::string> words;
  std::string word;
  for (const char c : name + "_") {
    if (c != '_') {
      word += c;
      continue;
    }
    if (word.size() >= kLong) words.push_back(word);
    word.clear();
  }
  return words;
}

// The only candidate that has one of the words of `wanted`; null where none or several have one.
const std::string* only_kin(const std::string& wanted, const std::vector<std::string>& candidates) {
  const std::string* found = nullptr;
  for (const std::string& word : long_words(wanted))
    for (const std::string& candidate : candidates) {
      const std::vector<std::string> own = long_words(lower_case(candidate));
      if (&candidate == found || std::find(own.begin(), own.end(), word) == own.end()) continue;
      if (found != nullptr) return nullptr;
      found = &candidate;
    }
  return found;
}

}  // namespace

std::string lower_case(std::string_view text) {
  std::string result(text);
  std::transform(result.begin(), result.end(), result.begin(), lower);
  return result;
}

std::string did_you_mean(std::string_view word, const std::vector<std::string>& candidates) {
  if (word.empty() || word.size() > 100) return "";
  const std::string wanted = lower_case(word);
  const std::string* best = nullptr;
  std::size_t best_distance = std::max<std::size_t>(2, wanted.size() / 3) + 1;
  for (const std::string& candidate : candidates) {
    const std::size_t distance = edit_distance(wanted, lower_case(candidate));
    if (distance < best_distance && distance < candidate.size()) {
      best = &candidate;
      best_distance = distance;
    }
  }
  // A slip of the fingers changes two letters at most; before more than that comes a word that both names have.
  constexpr std::size_t kSlip = 2;
  if (best_distance > kSlip)
    if (const std::string* kin = only_kin(wanted, candidates)) best = kin;
  return best == nullptr ? "" : "did you mean '" + *best + "'?";
}

}  // namespace attn
