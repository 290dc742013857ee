// SPDX-License-Identifier: Apache-2.0
//
// The letters of PNG pictures: strokes of a pen with a round tip, so that they need no font file and are the same
// everywhere. Printable ASCII; any other character is an empty box.
#pragma once

#include <string_view>
#include <vector>

namespace attn::picture {

// Units of glyphs in the height of the font, which is that of a line without space between lines; a capital has 14.
inline constexpr double kGlyphUnits = 19.2;

struct Point {
  double x = 0, y = 0;  // y upwards from the baseline
};

struct Glyph {
  double advance = 0;                       // to the next letter
  std::vector<std::vector<Point>> strokes;  // of straight pieces
};

[[nodiscard]] const Glyph& glyph(char32_t character);

// The characters of a UTF-8 text; bytes that are none are U+FFFD.
[[nodiscard]] std::vector<char32_t> characters(std::string_view text);

}  // namespace attn::picture
