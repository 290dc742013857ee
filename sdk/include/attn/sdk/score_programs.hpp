// SPDX-License-Identifier: Apache-2.0
//
// Score programs and mask rules that many types want, for AttentionOptions and AttentionExtras, and the tables that
// they read. Texts name their tensors; attention() gets them in AttentionExtras::tables under these names in `captured`.
// host/docs/score-programs.md has the language. [any-thread]
#pragma once

#include <attn/sdk/error.hpp>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace attn::sdk::programs {

// ALiBi (Press et al. 2021, arXiv 2108.12409): slope (H), with a gradient.
inline constexpr const char* kAlibi = "s - slope[h] * abs(q - k)";
// A bias of rank 1: u and w (B, H, positions), with gradients; the (Q, K) bias is never made.
inline constexpr const char* kRankOne = "s + u[b, h, q] - w[b, h, k]";
// Relative positions by bucket (Raffel et al. 2019, arXiv 1910.10683): table (H, buckets), with a gradient; bucket
// (2 L - 1) int32 as t5_buckets() makes it, for positions below the constant L.
inline constexpr const char* kT5 = "s + table[h, bucket[k - q + L - 1]]";
// Packed documents: segment (B, positions), whole numbers; a token sees its own document.
inline constexpr const char* kSegments = "segment[b, q] == segment[b, k]";
inline constexpr const char* kCausalSegments = "segment[b, q] == segment[b, k] && k <= q";
// Queries and keys of two sequences.
inline constexpr const char* kCrossSegments = "query_segment[b, q] == key_segment[b, k]";

// Slopes of ALiBi for any number of heads: a geometric sequence for a power of two, else that of the power below and
// every other one of the power above.
inline std::vector<double> alibi_slopes(int64_t heads) {
  std::vector<double> slopes;
  int64_t below = 1;
  while (below * 2 <= heads) below *= 2;
  const auto slope = [](int64_t n, int64_t of) {
    return std::exp2(-8.0 * static_cast<double>(n) / static_cast<double>(of));
  };
  for (int64_t i = 1; i <= std::min(heads, below); ++i) slopes.push_back(slope(i, below));
  for (int64_t i = 1; static_cast<int64_t>(slopes.size()) < heads; i += 2)
    slopes.push_back(slope(i, 2 * below));
  return slopes;
}

// The bucket of k - q: one a distance at first, then ever wider (section 2.1); bidirectional: half of them for each
// direction. At least two buckets a direction, and max_distance beyond half of these.
inline int64_t t5_bucket(int64_t relative, int64_t buckets, int64_t max_distance,
                         bool bidirectional) {
  int64_t n = buckets, first = 0, distance = -std::min<int64_t>(relative, 0);
  if (bidirectional) {
    n /= 2;
    first = relative > 0 ? n : 0;
    distance = relative < 0 ? -relative : relative;
  }
  const int64_t exact = n / 2;
  if (distance < exact) return first + distance;
  const double share = std::log(static_cast<double>(distance) / static_cast<double>(exact)) /
                       std::log(static_cast<double>(max_distance) / static_cast<double>(exact));
  const double wide = share * static_cast<double>(n - exact);
  return first + std::min(n - 1, exact + static_cast<int64_t>(wide));
}
// Those of k - q from -(length - 1) to length - 1, by number k - q + length - 1.
inline std::vector<int32_t> t5_buckets(int64_t length, int64_t buckets, int64_t max_distance,
                                       bool bidirectional) {
  const int64_t exact = (bidirectional ? buckets / 2 : buckets) / 2;
  if (exact < 1 || max_distance <= exact)
    fail("{} buckets up to distance {}; expected two a direction and more, and a distance above {}",
         buckets, max_distance, exact);
  std::vector<int32_t> out;
  for (int64_t relative = 1 - length; relative < length; ++relative)
    out.push_back(static_cast<int32_t>(t5_bucket(relative, buckets, max_distance, bidirectional)));
  return out;
}

// Segments of a ragged batch that lies without padding in one row: bounds 0, n0, n0 + n1, ..., as cu_seqlens has them.
// Positions behind the last one are a segment of their own.
inline std::vector<int32_t> segments_of(std::span<const int64_t> bounds, int64_t positions) {
  std::vector<int32_t> out;
  for (int64_t i = 0; i < positions; ++i)
    out.push_back(
        static_cast<int32_t>(std::upper_bound(bounds.begin(), bounds.end(), i) - bounds.begin()));
  return out;
}

// A neighborhood (Hassani et al. 2022, arXiv 2204.07143) on a grid, row-major: along each axis the `window` positions
// nearest to the query among those at multiples of `dilation` from it, moved inwards at the borders so that there are
// always `window` of them, if the axis has them. Along a causal axis those up to the query, fewer at its beginning.
struct NeighborhoodAxis {
  int64_t extent;  // 0, of the first axis alone: as many as there are keys for
  int64_t window, dilation = 1;
  bool causal = false;
};

namespace detail {
// Of an axis: the coordinates of query and key, how many there are, and the keys that share one.
struct Coordinates {
  std::string q, k, extent;
  int64_t stride;
};
inline std::vector<Coordinates> coordinates(std::span<const NeighborhoodAxis> axes) {
  std::vector<Coordinates> out;
  int64_t inner = 1;
  for (size_t i = axes.size(); i-- > 0;) {
    const NeighborhoodAxis& a = axes[i];
    if (a.extent < (i > 0 ? 1 : 0) || a.window < 1 || a.dilation < 1)
      fail("an axis of {} positions, window {}, dilation {}; expected at least 1 of each", a.extent,
           a.window, a.dilation);
    const auto place = [&](const char* name) {
      std::string x = name;
      if (inner > 1) x = "(" + x + " / " + std::to_string(inner) + ")";
      return i > 0 ? "(" + x + " % " + std::to_string(a.extent) + ")" : x;
    };
    const std::string all =
        inner == 1 ? "K"
                   : "((K + " + std::to_string(inner - 1) + ") / " + std::to_string(inner) + ")";
    out.insert(out.begin(),
               {place("q"), place("k"), a.extent > 0 ? std::to_string(a.extent) : all, inner});
    inner *= a.extent;
  }
  return out;
}
inline std::string divided(const std::string& x, int64_t by) {
  return by == 1 ? x : "(" + x + " / " + std::to_string(by) + ")";
}
inline std::string times(const std::string& x, int64_t by) {
  return by == 1 ? x : x + " * " + std::to_string(by);
}
}  // namespace detail

inline std::string neighborhood(std::span<const NeighborhoodAxis> axes) {
  const std::vector<detail::Coordinates> of = detail::coordinates(axes);
  std::string rule;
  for (size_t i = 0; i < axes.size(); ++i) {
    const NeighborhoodAxis& a = axes[i];
    const auto& [x, y, extent, stride] = of[i];
    const std::string step = std::to_string(a.dilation), window = std::to_string(a.window);
    if (!rule.empty()) rule += " && ";
    if (a.dilation > 1) rule += x + " % " + step + " == " + y + " % " + step + " && ";
    std::string begin, end;  // of the window, along the axis
    if (a.causal) {
      begin = "(" + x + " - " + std::to_string(a.window * a.dilation - 1) + ")";
      end = "(" + x + " + 1)";
    } else {
      const std::string line = a.dilation == 1
                                   ? extent
                                   : "((" + extent + " - " + x + " % " + step + " + " +
                                         std::to_string(a.dilation - 1) + ") / " + step + ")";
      const std::string first = "clamp(" + detail::divided(x, a.dilation) + " - " +
                                std::to_string(a.window / 2) + ", 0, " + line + " - " + window +
                                ")";
      begin = detail::times(first, a.dilation);
      end = detail::times("(" + first + " + " + window + ")", a.dilation);
    }
    // The first axis bounds the keys of a row, as a window does.
    rule += i == 0 ? detail::times(begin, stride) + " <= k < " + detail::times(end, stride)
                   : begin + " <= " + y + " < " + end;
  }
  return rule;
}
// A score with a number for each distance inside a neighborhood: table (H, 2 window - 1 of each axis), with a gradient;
// the distance from query to key in steps of the dilation, plus window - 1, is the index along an axis. s: what it is
// added to.
inline std::string neighborhood_bias(std::span<const NeighborhoodAxis> axes,
                                     const std::string& s = "s",
                                     const std::string& table = "table") {
  const std::vector<detail::Coordinates> of = detail::coordinates(axes);
  std::string score = s + " + " + table + "[h";
  for (size_t i = 0; i < axes.size(); ++i) {
    const std::string most = std::to_string(axes[i].window - 1);
    score += ", clamp(" + detail::divided(of[i].k, axes[i].dilation) + " - " +
             detail::divided(of[i].q, axes[i].dilation) + ", -" + most + ", " + most + ") + " +
             most;
  }
  return score + "]";
}

}  // namespace attn::sdk::programs
