// SPDX-License-Identifier: Apache-2.0
//
// A picture before it has a format: boxes, lines, text and fields of values in user units (px of an SVG), y downwards,
// painted in the order of the list. svg(), html() and png() write it; all three show the same.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "host/picture/colours.hpp"

namespace attn::picture {

struct Box {
  double x = 0, y = 0, width = 0, height = 0;
  Colour fill{};
  bool outline = false;  // the border alone, 1.5 wide
};

struct Line {
  double x1 = 0, y1 = 0, x2 = 0, y2 = 0, width = 1;
  Colour colour{};
};

enum class Anchor { start, middle, end };
struct Text {
  double x = 0, y = 0;  // of the baseline at the anchor
  std::string text;     // UTF-8
  double size = 12;
  Anchor anchor = Anchor::start;
  Colour colour = kInk;
  bool bold = false;
  bool upward = false;  // reads from below to above
};

// rows x columns values with a cell each. A reader of the HTML sees value, row and column of the cell under the mouse.
struct Field {
  double x = 0, y = 0, cell_width = 1, cell_height = 1;
  int64_t rows = 0, columns = 0;
  std::vector<double> values;
  bool painted = true;  // false: what is seen there are other items, this tells their values
  Scale scale{};
  std::string title;                                 // of the plane
  std::string row_name, column_name;                 // "query", "key"
  std::vector<std::string> row_texts, column_texts;  // one for each row and column
};

using Item = std::variant<Box, Line, Text, Field>;

struct Scene {
  double width = 0, height = 0;
  std::vector<Item> items;
};

// Of one line of text, at most: fonts of SVG viewers are no wider than this (DejaVu Sans and Verdana are the widest).
[[nodiscard]] double text_width(const std::string& text, double size, bool bold = false);

[[nodiscard]] std::string svg(const Scene& scene);
[[nodiscard]] std::string html(const Scene& scene,
                               const std::string& title);  // one file, no network
[[nodiscard]] std::string png(const Scene& scene);         // two pixels a unit

}  // namespace attn::picture
