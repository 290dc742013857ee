// SPDX-License-Identifier: Apache-2.0
#include "core/program/extents.hpp"

#include <algorithm>
#include <charconv>

#include "core/error/error.hpp"

namespace attn::program {

namespace {
[[noreturn]] void wrong(std::string_view x) {
  throw InvalidArgument("extent '" + std::string(x.substr(0, 80)) +
                        "' of a tensor of a score program; expected at most " +
                        std::to_string(kMostAxes) + ", each a number or one of B, H, Q, K");
}
std::string text_of(int64_t n) {
  return n < 0 ? std::string(1, kExtents[place_of(n)]) : std::to_string(n);
}
}  // namespace

std::string extents_text(const Extents& extents) {
  std::string text;
  for (const int64_t n : extents) text += (text.empty() ? "" : ", ") + text_of(n);
  return "(" + text + ")";
}

std::string declaration(const std::string& name, const Extents& extents) {
  std::string text = name;
  if (extents.empty()) text += ":";
  for (const int64_t n : extents) text += ":" + text_of(n);
  return text;
}

DeclaredExtents declared_extents(std::string_view names, int table) {
  DeclaredExtents out;
  for (; table > 0; --table) names.remove_prefix(std::min(names.find(','), names.size() - 1) + 1);
  names = names.substr(0, names.find(','));
  const size_t colon = names.find(':');
  if (colon == std::string_view::npos) return out;
  names.remove_prefix(colon + 1);
  for (out.rank = 0; !names.empty(); ++out.rank) {
    const std::string_view x = names.substr(0, names.find(':'));
    const size_t letter = x.size() == 1 ? kExtents.find(x[0]) : std::string_view::npos;
    int64_t n = letter_extent(letter);
    if (letter == std::string_view::npos) {
      const auto r = std::from_chars(x.data(), x.data() + x.size(), n);
      if (r.ec != std::errc() || r.ptr != x.data() + x.size() || n < 0) wrong(x);
    }
    if (out.rank == kMostAxes) wrong(x);
    out.n[static_cast<size_t>(out.rank)] = n;
    names.remove_prefix(std::min(x.size() + 1, names.size()));
  }
  return out;
}

}  // namespace attn::program
