// SPDX-License-Identifier: Apache-2.0
//
// The SVG in a page, and beside it the values of its fields with a script that shows the one under the mouse.
#include <fmt/format.h>
#include <attn/json.hpp>

#include <cmath>
#include <cstdlib>

#include "host/picture/scene.hpp"

namespace attn::picture {

namespace {

constexpr const char* kStyle = R"(
body { margin: 16px; font: 14px sans-serif; color: #1B1F24; background: #FFFFFF; }
svg { max-width: 100%; height: auto; }
#tip { position: fixed; display: none; padding: 4px 8px; background: #1B1F24; color: #FFFFFF; border-radius: 4px;
  font-size: 13px; line-height: 1.4; pointer-events: none; white-space: pre; }
#cell { position: fixed; display: none; border: 2px solid #D02B6B; pointer-events: none; box-sizing: border-box; }
)";

constexpr const char* kScript = R"(
const svg = document.querySelector('svg'), tip = document.getElementById('tip'), cell = document.getElementById('cell');
const names = (f, axis, i) => f[axis + '_name'] + (f[axis + 's'][i] === '' ? '' : ' ' + f[axis + 's'][i]);
svg.addEventListener('pointermove', e => {
  const m = svg.getScreenCTM(), x = (e.clientX - m.e) / m.a, y = (e.clientY - m.f) / m.d;
  for (const f of fields) {
    const j = Math.floor((x - f.x) / f.w), i = Math.floor((y - f.y) / f.h);
    if (i < 0 || j < 0 || i >= f.rows.length || j >= f.columns.length) continue;
    const v = f.values[i * f.columns.length + j];
    tip.textContent = [f.title, names(f, 'row', i), names(f, 'column', j), v === null ? 'nothing' : v]
      .filter(t => t !== '').join('\n');
    for (const s of [tip.style, cell.style]) s.display = 'block';
    const left = m.e + (f.x + j * f.w) * m.a, top = m.f + (f.y + i * f.h) * m.d;
    Object.assign(cell.style, {left: left - 1 + 'px', top: top - 1 + 'px',
      width: f.w * m.a + 2 + 'px', height: f.h * m.d + 2 + 'px'});
    tip.style.left = Math.min(e.clientX + 14, innerWidth - tip.offsetWidth - 4) + 'px';
    tip.style.top = Math.min(e.clientY + 14, innerHeight - tip.offsetHeight - 4) + 'px';
    return;
  }
  for (const s of [tip.style, cell.style]) s.display = 'none';
});
)";

// Four digits.
Json number(double v) {
  return std::isfinite(v) ? Json(std::strtod(fmt::format("{:.4g}", v).c_str(), nullptr)) : Json();
}

Json field_json(const Field& f) {
  Json values = Json::list({}), rows = Json::list({}), columns = Json::list({});
  for (const double v : f.values) values.push_back(number(v));
  for (const std::string& text : f.row_texts) rows.push_back(text);
  for (const std::string& text : f.column_texts) columns.push_back(text);
  return {{"x", f.x},
          {"y", f.y},
          {"w", f.cell_width},
          {"h", f.cell_height},
          {"title", f.title},
          {"row_name", f.row_name},
          {"column_name", f.column_name},
          {"rows", rows},
          {"columns", columns},
          {"values", values}};
}

std::string without_tags(const std::string& text, const char* instead) {
  std::string out;
  for (const char c : text) c == '<' ? out += instead : out += c;
  return out;
}

}  // namespace

std::string html(const Scene& scene, const std::string& title) {
  Json fields = Json::list({});
  for (const Item& item : scene.items)
    if (const Field* f = std::get_if<Field>(&item)) fields.push_back(field_json(*f));
  return "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
         "<meta name=\"viewport\" content=\"width=device-width\">\n<title>" +
         without_tags(title, "&lt;") + "</title>\n<style>" + kStyle +
         "</style>\n</head>\n<body>\n" + svg(scene) +
         "<div id=\"cell\"></div>\n<div id=\"tip\"></div>\n<script>\nconst fields = " +
         without_tags(fields.dump(), "\\u003c") + ";" + kScript + "</script>\n</body>\n</html>\n";
}

}  // namespace attn::picture
