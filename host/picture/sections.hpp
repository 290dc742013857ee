// SPDX-License-Identifier: Apache-2.0
//
// What is drawn of a call, before it has a place: sections of planes that share axes and, by their key, a scale.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <vector>

#include "host/picture/figure.hpp"

namespace attn::picture {

struct Axis {
  std::string name;  // "query"
  int64_t first = 0,
          step = 1;  // the number of the first row or column, and how many of them one is
  std::vector<std::string> texts{};  // one for each; empty: numbers
};

struct Plane {
  std::string title;
  int64_t rows = 0, columns = 0;
  std::vector<double> values{};
  std::optional<std::array<double, 4>> mark{};  // x, y, width and height in cells
};

enum class Kind {
  squares,  // planes whose cells are squares
  plane,    // cells as the room is
  bars,     // of the only row
  lines,    // one for each row
  blocks,   // rows (what, begin, end)
  number
};

struct Section {
  Kind kind = Kind::squares;
  std::string key;            // of the scale
  std::string heading, note;  // what it is; what else there is to know
  std::string unit;
  Axis rows{}, columns{};
  std::vector<Plane> planes{};
};

// Which wishes had an effect.
struct Used {
  bool grid = false, query_labels = false, key_labels = false;
  int64_t positions = 0, keys = 0;  // that labels would be for, up to the last that is shown
};
[[nodiscard]] std::vector<Section> sections_of(const Subject& subject, const Wishes& wishes,
                                               Used& used);

}  // namespace attn::picture
