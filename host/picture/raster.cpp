// SPDX-License-Identifier: Apache-2.0
//
// A scene as pixels. Edges of letters and lines are smooth: a pixel takes as much of the colour as lies in the stroke.
#include <algorithm>
#include <cmath>

#include "host/picture/glyphs.hpp"
#include "host/picture/png.hpp"
#include "host/picture/scene.hpp"

namespace attn::picture {

namespace {

constexpr int kDots = 2;                          // pixels a unit
constexpr double kPen = 0.092, kBoldPen = 0.145;  // in the height of the font
constexpr double kBoldWidth = 1.12;               // letters of bold text stand wider

double distance(Point p, Point a, Point b) {
  const double dx = b.x - a.x, dy = b.y - a.y, length = dx * dx + dy * dy;
  const double t =
      length > 0 ? std::clamp(((p.x - a.x) * dx + (p.y - a.y) * dy) / length, 0.0, 1.0) : 0;
  const double x = p.x - a.x - t * dx, y = p.y - a.y - t * dy;
  return std::sqrt(x * x + y * y);  // hypot() would ask for a newer C library
}

class Canvas {
 public:
  explicit Canvas(const Scene& scene) {
    pixels_.width = std::lround(scene.width * kDots);
    pixels_.height = std::lround(scene.height * kDots);
    pixels_.colours.assign(static_cast<size_t>(pixels_.width * pixels_.height), kPaper);
  }

  void operator()(const Box& b) {
    if (b.outline) {
      const double x = b.x + b.width, y = b.y + b.height;
      stroke({{{b.x, b.y}, {x, b.y}, {x, y}, {b.x, y}, {b.x, b.y}}}, 1.5, b.fill);
    } else {
      fill(b.x, b.y, b.x + b.width, b.y + b.height, b.fill);
    }
  }
  void operator()(const Line& l) { stroke({{{l.x1, l.y1}, {l.x2, l.y2}}}, l.width, l.colour); }
  void operator()(const Text& t) {
    const double unit = t.size / kGlyphUnits * (t.bold ? kBoldWidth : 1);
    const double high = t.size / kGlyphUnits;
    double along = 0;
    const double wide = text_width(t.text, t.size, t.bold);
    if (t.anchor == Anchor::middle) along = -wide / 2;
    if (t.anchor == Anchor::end) along = -wide;
    for (const char32_t c : characters(t.text)) {
      const Glyph& g = glyph(c);
      std::vector<std::vector<Point>> strokes = g.strokes;
      for (auto& points : strokes)
        for (Point& p : points) {
          const double right = along + p.x * unit, up = p.y * high;
          p = t.upward ? Point{t.x - up, t.y - right} : Point{t.x + right, t.y - up};
        }
      along += g.advance * unit;
      stroke(strokes, t.size * (t.bold ? kBoldPen : kPen), t.colour);
    }
  }
  void operator()(const Field& f) {
    if (!f.painted) return;
    for (int64_t i = 0; i < f.rows; ++i)
      for (int64_t j = 0; j < f.columns; ++j) {
        const double x = f.x + static_cast<double>(j) * f.cell_width;
        const double y = f.y + static_cast<double>(i) * f.cell_height;
        fill(x, y, x + f.cell_width, y + f.cell_height,
             f.scale.colour(f.values[static_cast<size_t>(i * f.columns + j)]));
      }
  }

  [[nodiscard]] const Pixels& pixels() const { return pixels_; }

 private:
  // Whole pixels.
  void fill(double x0, double y0, double x1, double y1, Colour c) {
    const auto at = [](double v, int64_t most) {
      return std::clamp<int64_t>(std::lround(v * kDots), 0, most);
    };
    const int64_t left = at(x0, pixels_.width), right = at(x1, pixels_.width);
    for (int64_t y = at(y0, pixels_.height); y < at(y1, pixels_.height); ++y)
      std::fill(&pixels_.colours[static_cast<size_t>(y * pixels_.width + left)],
                &pixels_.colours[static_cast<size_t>(y * pixels_.width + left)] + (right - left),
                c);
  }

  // With a round tip of that width. Each list is a stroke; where they meet nothing is painted twice.
  void stroke(const std::vector<std::vector<Point>>& strokes, double width, Colour c) {
    const double half = width * kDots / 2;
    double left = 1e9, top = 1e9, right = -1e9, bottom = -1e9;
    for (const auto& points : strokes)
      for (const Point& p : points) {
        left = std::min(left, p.x * kDots), right = std::max(right, p.x * kDots);
        top = std::min(top, p.y * kDots), bottom = std::max(bottom, p.y * kDots);
      }
    const auto low = [&](double v) { return std::max<int64_t>(0, std::lround(v - half - 1)); };
    const auto high = [&](double v, int64_t most) {
      return std::min<int64_t>(most, std::lround(v + half + 1));
    };
    for (int64_t y = low(top); y < high(bottom, pixels_.height); ++y)
      for (int64_t x = low(left); x < high(right, pixels_.width); ++x) {
        const Point centre{(static_cast<double>(x) + 0.5) / kDots,
                           (static_cast<double>(y) + 0.5) / kDots};
        double near = 1e9;
        for (const auto& points : strokes)
          for (size_t i = 0; i + 1 < points.size(); ++i)
            near = std::min(near, distance(centre, points[i], points[i + 1]));
        // In eighths: more is not seen, and makes files larger.
        blend(pixels_.colours[static_cast<size_t>(y * pixels_.width + x)], c,
              std::round(8 * std::clamp(half + 0.5 - near * kDots, 0.0, 1.0)) / 8);
      }
  }

  static void blend(Colour& below, Colour c, double part) {
    const auto mix = [part](uint8_t a, uint8_t b) {
      return static_cast<uint8_t>(std::lround(a + part * (b - a)));
    };
    below = {mix(below.red, c.red), mix(below.green, c.green), mix(below.blue, c.blue)};
  }

  Pixels pixels_;
};

}  // namespace

double text_width(const std::string& text, double size, bool bold) {
  double units = 0;
  for (const char32_t c : characters(text)) units += glyph(c).advance;
  return units * size / kGlyphUnits * (bold ? kBoldWidth : 1);
}

std::string png(const Scene& scene) {
  Canvas canvas(scene);
  for (const Item& item : scene.items) std::visit(canvas, item);
  return encode_png(canvas.pixels(), kDots);
}

}  // namespace attn::picture
