// SPDX-License-Identifier: Apache-2.0
//
// Where everything stands. Room is measured before it is taken: text by the widest font, labels only as many as fit.
#include "host/picture/figure.hpp"

#include <fmt/format.h>
#include <attn/error.hpp>

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

#include "host/picture/sections.hpp"

namespace attn::picture {

namespace {

constexpr double kMargin = 20, kGap = 16, kAlone = 900, kBeside = 560, kBetween = 36;
constexpr double kTitle = 16, kHeading = 13, kSmall = 11, kTick = 10;  // sizes of text
constexpr double kLine = 15;                                           // of small text
constexpr double kMostLabel = 110;                                     // width of a token's label
constexpr double kMostSide = 420;                                      // of a plane

std::string digits(double v) { return fmt::format("{:.3g}", v == 0 ? 0.0 : v); }

// As much of a text as fits, with a sign that there is more.
std::string fitted(const std::string& text, double size, double width, bool bold = false) {
  if (text_width(text, size, bold) <= width) return text;
  std::string cut = text;
  while (!cut.empty() && text_width(cut + "..", size, bold) > width) {
    while (cut.size() > 1 && (static_cast<unsigned char>(cut.back()) & 0xC0U) == 0x80U)
      cut.pop_back();
    cut.pop_back();
  }
  return cut + "..";
}

std::string tick_text(const Axis& axis, int64_t i) {
  if (!axis.texts.empty()) return fitted(axis.texts[static_cast<size_t>(i)], kTick, kMostLabel);
  return std::to_string(axis.first + i * axis.step);
}
double widest(const Axis& axis, int64_t n) {
  double width = 0;
  if (axis.texts.empty())
    return std::max(text_width(tick_text(axis, 0), kTick),
                    text_width(tick_text(axis, n - 1), kTick));
  for (int64_t i = 0; i < n; ++i) width = std::max(width, text_width(tick_text(axis, i), kTick));
  return width;
}
// Every how many rows or columns has a label, so that labels that need `room` do not touch.
int64_t stride(double cell, double room) {
  for (int64_t unit = 1;; unit *= 10)
    for (const int64_t step : {1, 2, 5})
      if (static_cast<double>(unit * step) * cell >= room) return unit * step;
}

// Where the last thing ends.
double right_of(const Scene& scene) {
  struct Ends {
    double operator()(const Box& b) const { return b.x + b.width; }
    double operator()(const Line& l) const { return std::max(l.x1, l.x2); }
    double operator()(const Text& t) const {
      if (t.upward) return t.x + t.size;
      const double width = text_width(t.text, t.size, t.bold);
      return t.x + (t.anchor == Anchor::start ? width : t.anchor == Anchor::middle ? width / 2 : 0);
    }
    double operator()(const Field& f) const {
      return f.x + f.cell_width * static_cast<double>(f.columns);
    }
  };
  double right = 0;
  for (const Item& item : scene.items) right = std::max(right, std::visit(Ends{}, item));
  return right;
}

class Drawing {
 public:
  Drawing(double left, double width, const std::map<std::string, Scale>& scales, Scene& scene)
      : left_(left), width_(width), scales_(scales), scene_(scene) {}

  // Draws all, from y on; returns where it ends.
  double draw(const Subject& subject, const std::vector<Section>& sections) {
    y_ = kMargin + kTitle;
    text(left_, y_, subject.title, kTitle, kInk, true);
    const double title = text_width(subject.title, kTitle, true) + 12;
    text(left_ + title, y_, fitted(subject.note, 12, width_ - title), 12, kGrey);
    y_ += 10;
    if (sections.empty()) {
      y_ += 2 * kLine;
      text(left_, y_, "This call has nothing to observe.", 12, kGrey);
    }
    for (const Section& s : sections) {
      y_ += 18 + kHeading;
      const std::string heading =
          s.heading +
          (s.kind == Kind::number ? " = " + digits(s.planes.front().values.front()) : "");
      text(left_, y_, fitted(heading, kHeading, width_, true), kHeading, kInk, true);
      y_ += 4;
      if (!s.note.empty()) {
        y_ += kSmall + 2;
        text(left_, y_, fitted(s.note, kSmall, width_), kSmall, kGrey);
        y_ += 3;
      }
      if (s.kind == Kind::squares || s.kind == Kind::plane)
        planes(s);
      else if (s.kind == Kind::bars)
        bars(s);
      else if (s.kind == Kind::lines)
        lines(s);
      else if (s.kind == Kind::blocks)
        blocks(s);
    }
    return y_;
  }

 private:
  void text(double x, double y, const std::string& t, double size, Colour colour = kInk,
            bool bold = false, Anchor anchor = Anchor::start, bool upward = false) {
    scene_.items.emplace_back(Text{x, y, t, size, anchor, colour, bold, upward});
  }
  void line(double x1, double y1, double x2, double y2, Colour colour = kFrame, double width = 1) {
    scene_.items.emplace_back(Line{x1, y1, x2, y2, width, colour});
  }

  // The colours of a scale with its ends, what is between them and the unit.
  void legend(const Section& s, const Scale& scale) {
    constexpr double kWide = 160, kHigh = 10;
    constexpr int64_t kParts = 80;
    y_ += 6;
    const std::string low = digits(scale.low), high = digits(scale.high);
    text(left_, y_ + kHigh - 1, low, kSmall);
    const double x = left_ + text_width(low, kSmall) + 6;
    Field f{x, y_, kWide / kParts, kHigh, 1, kParts, {}, true, scale, "", "", "", {}, {}};
    for (int64_t i = 0; i < kParts; ++i)
      f.values.push_back(scale.value((static_cast<double>(i) + 0.5) / kParts));
    scene_.items.emplace_back(f);
    scene_.items.emplace_back(Box{x, y_, kWide, kHigh, kFrame, true});
    text(x + kWide + 6, y_ + kHigh - 1,
         high + "  " + s.unit + (scale.logarithmic ? ", logarithmic" : ""), kSmall);
    y_ += kHigh + 10;
  }

  struct Room {
    double cell_width = 1, cell_height = 1, slot = 1;  // slot: of a plane with its title
    int64_t per_row = 1;
  };
  [[nodiscard]] Room room(const Section& s, double labels) const {
    const Plane& p = s.planes.front();
    const auto n = static_cast<int64_t>(s.planes.size());
    const auto rows = static_cast<double>(p.rows), columns = static_cast<double>(p.columns);
    Room r;
    if (s.kind == Kind::plane) {
      r.cell_width = std::clamp(std::floor(2 * (width_ - labels) / columns) / 2, 1.0, 24.0);
      r.cell_height = std::clamp(std::floor(200 / rows), s.rows.texts.empty() ? 1.0 : 12.0, 20.0);
      r.slot = r.cell_width * columns;
      return r;
    }
    const bool texts = !s.rows.texts.empty() || !s.columns.texts.empty();
    const double most = std::min(std::floor(kMostSide / rows), 22.0);
    const double enough = std::min(most, texts           ? 11.0
                                         : columns <= 16 ? 8.0
                                         : columns <= 64 ? 3.0
                                                         : 1.0);
    double title = 0;
    for (const Plane& plane : s.planes) title = std::max(title, text_width(plane.title, kSmall));
    for (r.per_row = std::min<int64_t>(n, 8); r.per_row > 0; --r.per_row) {
      const auto k = static_cast<double>(r.per_row);
      const double side = std::floor((width_ - labels - (k - 1) * kGap) / k);
      const double cell = std::min(std::floor(side / columns), most);
      // Rows of planes that are all full look better than one with a few left over.
      if ((cell < enough || side < title ||
           (n > r.per_row && n % r.per_row != 0 && r.per_row > 4)) &&
          r.per_row > 1)
        continue;
      r.cell_width = r.cell_height = std::max(cell, 1.0);
      r.slot = std::max(r.cell_width * columns, title);
      break;
    }
    return r;
  }

  void planes(const Section& s) {
    const Scale& scale = scales_.at(s.key);
    legend(s, scale);
    const Plane& first = s.planes.front();
    const double labels = widest(s.rows, first.rows) + 7;
    const Room r = room(s, labels);
    const double high = r.cell_height * static_cast<double>(first.rows);
    const double below = s.columns.texts.empty() ? kTick + 5 : widest(s.columns, first.columns) + 8;
    const double title = first.title.empty() ? 0 : kSmall + 4;
    for (size_t i = 0; i < s.planes.size(); ++i) {
      const int64_t column = static_cast<int64_t>(i) % r.per_row;
      if (column == 0) y_ += (i > 0 ? high + below + 6 : 0) + title;
      plane(s, scale, s.planes[i], r,
            left_ + labels + static_cast<double>(column) * (r.slot + kGap), y_, column == 0);
    }
    y_ += high + below;
  }

  void plane(const Section& s, const Scale& scale, const Plane& p, const Room& r, double x,
             double top, bool with_rows) {
    if (!p.title.empty()) text(x, top - 4, p.title, kSmall);
    Field f{x,    top,   r.cell_width, r.cell_height, p.rows,         p.columns, p.values,
            true, scale, p.title,      s.rows.name,   s.columns.name, {},        {}};
    for (int64_t i = 0; i < p.rows; ++i) f.row_texts.push_back(tick_text(s.rows, i));
    for (int64_t j = 0; j < p.columns; ++j) f.column_texts.push_back(tick_text(s.columns, j));
    const double wide = r.cell_width * static_cast<double>(p.columns);
    const double high = r.cell_height * static_cast<double>(p.rows);
    scene_.items.emplace_back(f);
    scene_.items.emplace_back(Box{x - 0.75, top - 0.75, wide + 1.5, high + 1.5, kFrame, true});
    if (p.mark) {
      const auto [mx, my, mw, mh] = *p.mark;
      scene_.items.emplace_back(Box{x + mx * r.cell_width, top + my * r.cell_height,
                                    mw * r.cell_width, mh * r.cell_height, kMark, true});
    }
    if (with_rows)
      for (int64_t i = 0, n = stride(r.cell_height, kTick + 1); i < p.rows; i += n)
        text(x - 5, top + (static_cast<double>(i) + 0.5) * r.cell_height + kTick * 0.36,
             f.row_texts[static_cast<size_t>(i)], kTick, kInk, false, Anchor::end);
    const bool upward = !s.columns.texts.empty();
    const double room = upward ? kTick + 1 : widest(s.columns, p.columns) + 8;
    for (int64_t j = 0, n = stride(r.cell_width, room); j < p.columns; j += n) {
      const double middle = x + (static_cast<double>(j) + 0.5) * r.cell_width;
      const std::string& t = f.column_texts[static_cast<size_t>(j)];
      if (upward)
        text(middle + kTick * 0.36, top + high + 5, t, kTick, kInk, false, Anchor::end, true);
      else
        text(middle, top + high + kTick + 4, t, kTick, kInk, false, Anchor::middle);
    }
  }

  void bars(const Section& s) {
    const Plane& p = s.planes.front();
    constexpr double kHigh = 110;
    Scale scale = scales_.at(s.key);
    // The length of a bar is its value.
    scale.low = std::min(scale.low, 0.0);
    scale.high = std::max(scale.high, 0.0);
    y_ += 10;
    const double labels =
        std::max(text_width(digits(scale.low), kTick), text_width(digits(scale.high), kTick)) + 7;
    const double x = left_ + labels;
    const double wide =
        std::clamp(std::floor((width_ - labels) / static_cast<double>(p.columns)), 1.0, 24.0);
    const auto place = [&](double v) {
      return y_ + kHigh - kHigh * (v - scale.low) / (scale.high - scale.low);
    };
    const double all = wide * static_cast<double>(p.columns);
    for (const double v :
         {scale.low, scale.is_signed ? 0 : (scale.low + scale.high) / 2, scale.high}) {
      line(x, place(v), x + all, place(v));
      text(x - 5, place(v) + kTick * 0.36, digits(v), kTick, kInk, false, Anchor::end);
    }
    Field f{x,     y_,     wide, kHigh,          1,    p.columns, p.values, false,
            scale, s.unit, "",   s.columns.name, {""}, {}};
    const double zero = place(std::max(scale.low, 0.0));
    for (int64_t j = 0; j < p.columns; ++j) {
      const double v = p.values[static_cast<size_t>(j)], end = std::isfinite(v) ? place(v) : zero;
      scene_.items.emplace_back(Box{x + static_cast<double>(j) * wide, std::min(zero, end),
                                    wide > 2 ? wide - 1 : wide, std::fabs(end - zero), kLines[0]});
      f.column_texts.push_back(tick_text(s.columns, j));
    }
    scene_.items.emplace_back(f);
    const double room = widest(s.columns, p.columns) + 8;
    for (int64_t j = 0, n = stride(wide, room); j < p.columns; j += n)
      text(x + (static_cast<double>(j) + 0.5) * wide, y_ + kHigh + kTick + 5,
           f.column_texts[static_cast<size_t>(j)], kTick, kInk, false, Anchor::middle);
    y_ += kHigh + kTick + 8;
    text(x, y_ + kSmall + 2, s.columns.name, kSmall, kGrey);
    y_ += kSmall + 2;
  }

  void lines(const Section& s) {
    constexpr double kWide = 360, kApart = kTick + 3;
    const Plane& p = s.planes.front();
    const double kHigh = std::max(150.0, kApart * static_cast<double>(p.rows));
    const auto [least, most] = std::minmax_element(p.values.begin(), p.values.end());
    const double low = *least, high = *most > *least ? *most : *least + 1;
    y_ += 12;
    const double labels =
        std::max(text_width(digits(low), kTick), text_width(digits(high), kTick)) + 7;
    const double x = left_ + labels;
    const double step = kWide / static_cast<double>(std::max<int64_t>(p.columns - 1, 1));
    const auto across = [&](int64_t j) { return x + static_cast<double>(j) * step; };
    const auto down = [&](double v) { return y_ + kHigh - kHigh * (v - low) / (high - low); };
    for (const double v : {low, (low + high) / 2, high}) {
      line(x, down(v), x + kWide, down(v));
      text(x - 5, down(v) + kTick * 0.36, digits(v), kTick, kInk, false, Anchor::end);
    }
    Field f{x - step / 2, y_,        step,        kHigh / static_cast<double>(p.rows),
            p.rows,       p.columns, p.values,    false,
            {},           s.unit,    s.rows.name, "",
            {},           {}};
    std::vector<std::pair<double, int64_t>> ends;
    for (int64_t i = 0; i < p.rows; ++i) {
      const double* v = &p.values[static_cast<size_t>(i * p.columns)];
      const Colour colour = kLines[static_cast<size_t>(i) % std::size(kLines)];
      for (int64_t j = 0; j + 1 < p.columns; ++j)
        line(across(j), down(v[j]), across(j + 1), down(v[j + 1]), colour, 2);
      ends.emplace_back(down(v[p.columns - 1]), i);
      f.row_texts.push_back(tick_text(s.rows, i));
    }
    // Names at the ends of the lines, moved apart.
    std::sort(ends.begin(), ends.end());
    double above = y_ - kApart;
    for (size_t k = 0; k < ends.size(); ++k) {
      const auto [at, i] = ends[k];
      const double lowest = y_ + kHigh - kApart * static_cast<double>(ends.size() - 1 - k);
      above = std::clamp(at, above + kApart, std::max(above + kApart, lowest));
      line(x + kWide, at, x + kWide + 12, above,
           kLines[static_cast<size_t>(i) % std::size(kLines)]);
      text(x + kWide + 16, above + kTick * 0.36, s.rows.name + " " + tick_text(s.rows, i), kTick);
    }
    for (int64_t j = 0; j < p.columns; ++j) {
      f.column_texts.push_back(tick_text(s.columns, j));
      if (j % stride(step, widest(s.columns, p.columns) + 8) == 0)
        text(across(j), y_ + kHigh + kTick + 6, f.column_texts.back(), kTick, kInk, false,
             Anchor::middle);
    }
    scene_.items.emplace_back(f);
    y_ += kHigh + kTick + 8;
  }

  // Rows (what, begin, end), as a plan of who meets what when.
  void blocks(const Section& s) {
    constexpr double kHigh = 24;
    const Plane& p = s.planes.front();
    double last = 1;
    for (int64_t i = 0; i < p.rows; ++i)
      last = std::max(last, p.values[static_cast<size_t>(3 * i + 2)]);
    const double labels = text_width(fmt::format("step {}", p.rows - 1), kTick) + 8;
    const double x = left_ + labels, wide = std::min(width_ - labels, 640.0);
    y_ += 8;
    for (int64_t i = 0; i < p.rows; ++i) {
      const double* v = &p.values[static_cast<size_t>(3 * i)];
      text(x - 6, y_ + kHigh / 2 + kTick * 0.36, fmt::format("step {}", i), kTick, kInk, false,
           Anchor::end);
      scene_.items.emplace_back(Box{x, y_, wide, kHigh - 3, {0xF1, 0xF2, 0xF4}});
      const double from = x + wide * v[1] / last, to = x + wide * v[2] / last;
      // Pale, so that text on it is read.
      const Colour c = kLines[static_cast<size_t>(v[0]) % std::size(kLines)];
      const auto pale = [](uint8_t part) {
        return static_cast<uint8_t>(255 - (255 - part) * 2 / 5);
      };
      scene_.items.emplace_back(
          Box{from, y_, to - from, kHigh - 3, {pale(c.red), pale(c.green), pale(c.blue)}});
      const std::string told =
          fmt::format("keys of rank {}: tokens {} to {}", v[0], v[1], v[2] - 1);
      const bool fits =
          text_width(told, kTick) + 12 < to - from || to + text_width(told, kTick) + 6 > x + wide;
      text(fits ? std::min(from + 6, x + wide - text_width(told, kTick) - 6) : to + 6,
           y_ + kHigh / 2 + 2, told, kTick);
      y_ += kHigh;
    }
    text(x, y_ + kTick + 2, "token 0", kTick);
    text(x + wide, y_ + kTick + 2, digits(last - 1), kTick, kInk, false, Anchor::end);
    y_ += kTick + 4;
  }

  double left_, width_;
  const std::map<std::string, Scale>& scales_;
  Scene& scene_;
  double y_ = 0;
};

}  // namespace

Scene figure(std::span<const Subject> subjects, const Wishes& wishes) {
  std::vector<std::vector<Section>> sections;
  Used used;
  for (const Subject& s : subjects) sections.push_back(sections_of(s, wishes, used));
  const auto refuse = [&](const std::string& name, const std::string& why,
                          const std::string& expected) {
    throw InvalidArgument(wishes.prefix + name + ": " + why,
                          {.where = wishes.prefix + name, .expected = expected});
  };
  const std::string grid =
      "a feature map, or the grid that its keys are in: " + wishes.prefix + "grid";
  if (wishes.grid && !used.grid)
    refuse("grid", "no map of this call has keys in a grid of that size",
           "rows times columns keys");
  if (wishes.query && !used.grid) refuse("query", "no map of this call has keys in a grid", grid);
  const auto refuse_labels = [&](const std::string& name, size_t given, int64_t wanted,
                                 const std::string& of) {
    if (wanted == 0) refuse(name, "nothing that is shown has " + of, "none");
    refuse(name, fmt::format("{} label{} for {} {}", given, given == 1 ? "" : "s", wanted, of),
           fmt::format("{}, one for each", wanted));
  };
  if (!wishes.query_labels.empty() && !used.query_labels)
    refuse_labels("labels", wishes.query_labels.size(), used.positions, "positions");
  if (!wishes.key_labels.empty() && !used.key_labels)
    refuse_labels("key-labels", wishes.key_labels.size(), used.keys, "keys");
  // One scale for what has the same key, in all subjects.
  std::map<std::string, std::vector<double>> values;
  std::map<std::string, Scale> scales;
  for (const auto& list : sections)
    for (const Section& s : list)
      for (const Plane& p : s.planes)
        values[s.key].insert(values[s.key].end(), p.values.begin(), p.values.end());
  for (const auto& [key, all] : values) scales[key] = scale_of(all, key != "map");
  const double width = subjects.size() > 1 ? kBeside : kAlone;
  Scene scene;
  for (size_t i = 0; i < subjects.size(); ++i) {
    const double left = i > 0 ? right_of(scene) + kBetween : kMargin;
    Drawing drawing(left, width, scales, scene);
    scene.height = std::max(scene.height, drawing.draw(subjects[i], sections[i]));
  }
  scene.width = std::ceil(right_of(scene)) + kMargin;
  scene.height += kMargin;
  return scene;
}

}  // namespace attn::picture
