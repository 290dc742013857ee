// SPDX-License-Identifier: Apache-2.0
//
// The tokens of a call on their grid, and who sees whom: what the mask rule of a neighborhood says, for the claims of the
// type. Plain; [any-thread]
#pragma once

#include <attn/sdk/score_programs.hpp>

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

namespace attn::neighborhood {

using Axis = attn::sdk::programs::NeighborhoodAxis;

class Grid {
 public:
  // The first axis is as long as the tokens make it, if it has no extent.
  Grid(std::span<const Axis> axes, int64_t tokens) : tokens_(tokens) {
    int64_t stride = 1;
    for (size_t i = axes.size(); i-- > 0;) {
      const int64_t rows = (tokens + stride - 1) / stride;
      Line line{axes[i], stride, 0};
      if (line.axis.extent == 0) line.axis.extent = rows;
      line.used = std::min(line.axis.extent, rows);
      stride *= line.axis.extent;
      lines_.push_back(line);
    }
  }

  [[nodiscard]] bool sees(int64_t query, int64_t key) const {
    return std::all_of(lines_.begin(), lines_.end(),
                       [&](const Line& l) { return near(l.axis, l.place(query), l.place(key)); });
  }
  // No token sees another one: the one before it along an axis is always near.
  [[nodiscard]] bool is_alone() const {
    return std::all_of(lines_.begin(), lines_.end(), [](const Line& l) {
      return l.used == 1 || l.axis.window == 1 || l.axis.dilation >= l.used;
    });
  }
  // Every token sees all.
  [[nodiscard]] bool is_open() const {
    return std::all_of(lines_.begin(), lines_.end(), [](const Line& l) {
      return l.used == 1 || (!l.axis.causal && l.axis.dilation == 1 &&
                             near(l.axis, 0, l.used - 1) && near(l.axis, l.used - 1, 0));
    });
  }
  // Every entry of the table of distances is that of some query and key. What has more tokens than can be gone through in
  // no time is taken to have all.
  [[nodiscard]] bool has_all_distances() const {
    constexpr int64_t kMostTokens = 2048;
    if (tokens_ > kMostTokens) return true;
    int64_t entries = 1;
    for (const Line& l : lines_) {
      const int64_t more = 2 * l.axis.window - 1;
      // Each pair is one entry at most.
      if (more > tokens_ * tokens_ || entries > tokens_ * tokens_ / more) return false;
      entries *= more;
    }
    std::vector<bool> seen(static_cast<size_t>(entries));
    for (int64_t q = 0; q < tokens_; ++q)
      for (int64_t k = 0; k < tokens_; ++k) {
        if (!sees(q, k)) continue;
        int64_t at = 0;
        for (const Line& l : lines_)
          at = at * (2 * l.axis.window - 1) + (l.place(k) - l.place(q)) / l.axis.dilation +
               l.axis.window - 1;
        seen[static_cast<size_t>(at)] = true;
      }
    return std::find(seen.begin(), seen.end(), false) == seen.end();
  }

 private:
  struct Line {
    Axis axis;
    int64_t stride, used;  // positions that some token has

    [[nodiscard]] int64_t place(int64_t token) const { return token / stride % axis.extent; }
  };

  static bool near(const Axis& a, int64_t x, int64_t y) {
    if (x % a.dilation != y % a.dilation) return false;
    if (a.causal) return y <= x && x - y < a.window * a.dilation;
    const int64_t line = (a.extent - x % a.dilation + a.dilation - 1) / a.dilation;
    const int64_t first = std::clamp<int64_t>(x / a.dilation - a.window / 2, 0,
                                              std::max<int64_t>(line - a.window, 0));
    return first <= y / a.dilation && y / a.dilation < first + a.window;
  }

  int64_t tokens_;
  std::vector<Line> lines_{};  // the last axis first
};

}  // namespace attn::neighborhood
