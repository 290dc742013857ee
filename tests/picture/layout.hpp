// SPDX-License-Identifier: Apache-2.0
//
// What overlaps in a picture: texts with each other or with cells and bars, and what lies outside of it.
#pragma once

#include <fmt/format.h>

#include <string>
#include <vector>

#include "host/picture/scene.hpp"

namespace attn::test {

struct Area {
  double left = 0, top = 0, right = 0, bottom = 0;
  std::string what;
};

inline Area area_of(const picture::Text& t) {
  const double width = picture::text_width(t.text, t.size, t.bold);
  double begin = 0;
  if (t.anchor == picture::Anchor::middle) begin = -width / 2;
  if (t.anchor == picture::Anchor::end) begin = -width;
  // From the foot of a "g" to the head of a "k".
  const double up = 0.75 * t.size, down = 0.15 * t.size;
  if (t.upward) return {t.x - up, t.y - begin - width, t.x + down, t.y - begin, t.text};
  return {t.x + begin, t.y - up, t.x + begin + width, t.y + down, t.text};
}

inline std::vector<std::string> overlaps(const picture::Scene& scene) {
  std::vector<Area> texts, fields;
  for (const picture::Item& item : scene.items) {
    if (const auto* t = std::get_if<picture::Text>(&item)) texts.push_back(area_of(*t));
    if (const auto* f = std::get_if<picture::Field>(&item); f && f->painted)
      fields.push_back({f->x, f->y, f->x + f->cell_width * static_cast<double>(f->columns),
                        f->y + f->cell_height * static_cast<double>(f->rows), "field " + f->title});
  }
  const auto meet = [](const Area& a, const Area& b) {
    constexpr double kTouch = 0.3;
    return a.left + kTouch < b.right && b.left + kTouch < a.right && a.top + kTouch < b.bottom &&
           b.top + kTouch < a.bottom;
  };
  std::vector<std::string> found;
  for (size_t i = 0; i < texts.size(); ++i) {
    const Area& a = texts[i];
    if (a.left < 0 || a.top < 0 || a.right > scene.width || a.bottom > scene.height)
      found.push_back(fmt::format("'{}' leaves the picture", a.what));
    for (size_t k = i + 1; k < texts.size(); ++k)
      if (meet(a, texts[k])) found.push_back(fmt::format("'{}' on '{}'", a.what, texts[k].what));
    for (const Area& f : fields)
      if (meet(a, f)) found.push_back(fmt::format("'{}' on {}", a.what, f.what));
  }
  for (size_t i = 0; i < fields.size(); ++i)
    for (size_t k = i + 1; k < fields.size(); ++k)
      if (meet(fields[i], fields[k])) found.push_back(fields[i].what + " on " + fields[k].what);
  return found;
}

}  // namespace attn::test
