// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <cmath>

#include "host/picture/png.hpp"
#include "host/picture/scene.hpp"

namespace attn::picture {

namespace {

std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '&')
      out += "&amp;";
    else if (c == '<')
      out += "&lt;";
    else if (c == '>')
      out += "&gt;";
    else if (c == '"')
      out += "&quot;";
    else if (static_cast<unsigned char>(c) >= ' ')  // XML has no other ones
      out += c;
  }
  return out;
}

std::string base64(const std::string& bytes) {
  constexpr const char* kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t three = 0;
    for (size_t k = 0; k < 3; ++k)
      three = three << 8 | (i + k < bytes.size() ? static_cast<unsigned char>(bytes[i + k]) : 0U);
    for (size_t k = 0; k < 4; ++k)
      out += i + k > bytes.size() ? '=' : kDigits[three >> (18 - 6 * k) & 63];
  }
  return out;
}

// No more digits than two behind the point, and no zeros at the end.
std::string number(double v) {
  std::string text = fmt::format("{:.2f}", v);
  while (text.ends_with('0')) text.pop_back();
  if (text.ends_with('.')) text.pop_back();
  return text == "-0" ? "0" : text;
}

struct Writer {
  std::string out{};

  void operator()(const Box& b) {
    out += fmt::format(
        "<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" {}/>\n", number(b.x), number(b.y),
        number(b.width), number(b.height),
        b.outline ? fmt::format("fill=\"none\" stroke=\"{}\" stroke-width=\"1.5\"", hex(b.fill))
                  : fmt::format("fill=\"{}\"", hex(b.fill)));
  }
  void operator()(const Line& l) {
    out += fmt::format(
        "<path d=\"M{} {}L{} {}\" stroke=\"{}\" stroke-width=\"{}\" stroke-linecap=\"round\"/>\n",
        number(l.x1), number(l.y1), number(l.x2), number(l.y2), hex(l.colour), number(l.width));
  }
  void operator()(const Text& t) {
    out += fmt::format("<text x=\"{}\" y=\"{}\" font-size=\"{}\"", number(t.x), number(t.y),
                       number(t.size));
    if (t.colour != kInk) out += fmt::format(" fill=\"{}\"", hex(t.colour));
    if (t.anchor != Anchor::start)
      out += t.anchor == Anchor::middle ? " text-anchor=\"middle\"" : " text-anchor=\"end\"";
    if (t.bold) out += " font-weight=\"bold\"";
    if (t.upward) out += fmt::format(" transform=\"rotate(-90 {} {})\"", number(t.x), number(t.y));
    out += ">" + escaped(t.text) + "</text>\n";
  }
  // A picture of a pixel a cell, which viewers enlarge without smoothing.
  void operator()(const Field& f) {
    if (!f.painted) return;
    Pixels pixels{f.columns, f.rows, {}};
    for (const double v : f.values) pixels.colours.push_back(f.scale.colour(v));
    out += fmt::format(
        "<image x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" preserveAspectRatio=\"none\" "
        "style=\"image-rendering:crisp-edges;image-rendering:pixelated\" "
        "href=\"data:image/png;base64,{}\"/>\n",
        number(f.x), number(f.y), number(f.cell_width * static_cast<double>(f.columns)),
        number(f.cell_height * static_cast<double>(f.rows)), base64(encode_png(pixels)));
  }
};

}  // namespace

std::string svg(const Scene& scene) {
  Writer writer;
  for (const Item& item : scene.items) std::visit(writer, item);
  return fmt::format(
             "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0} {1}\" width=\"{0}\" "
             "height=\"{1}\" font-family=\"DejaVu Sans, Verdana, sans-serif\" fill=\"{2}\">\n"
             "<rect width=\"100%\" height=\"100%\" fill=\"#FFFFFF\"/>\n",
             number(scene.width), number(scene.height), hex(kInk)) +
         writer.out + "</svg>\n";
}

}  // namespace attn::picture
