// SPDX-License-Identifier: Apache-2.0
#include "loss_curve.hpp"

#include <algorithm>
#include <cmath>
#include <cstdarg>
#include <cstdio>
#include <fstream>
#include <stdexcept>

namespace digits {

namespace {

constexpr double kLeft = 60, kTop = 40, kWide = 620, kHigh = 420, kLegend = 190;

std::string format(const char* form, ...) __attribute__((format(printf, 1, 2)));
std::string format(const char* form, ...) {
  char text[256];
  va_list list;
  va_start(list, form);
  std::vsnprintf(text, sizeof text, form, list);
  va_end(list);
  return text;
}

// Twenty hues that differ, dark and light in turn.
std::string colour(size_t n, size_t of) {
  return format("hsl(%.0f,70%%,%d%%)", 360.0 * static_cast<double>(n) / static_cast<double>(of),
                n % 2 ? 62 : 38);
}

}  // namespace

void write_loss_curves(const std::string& path, const std::vector<Curve>& curves) {
  size_t epochs = 1;
  double low = HUGE_VAL, high = 0;
  for (const Curve& c : curves) {
    epochs = std::max(epochs, c.loss.size());
    for (const double v : c.loss) low = std::min(low, v), high = std::max(high, v);
  }
  const double bottom = std::floor(std::log10(std::max(low, 1e-12)));
  const double top = std::max(std::ceil(std::log10(std::max(high, 1e-12))), bottom + 1);
  const double last = static_cast<double>(std::max<size_t>(epochs, 2));
  const auto x = [&](double epoch) { return kLeft + kWide * (epoch - 1) / (last - 1); };
  const auto y = [&](double loss) {
    return kTop + kHigh * (top - std::log10(std::max(loss, 1e-12))) / (top - bottom);
  };
  std::string svg = format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%.0f\" "
      "font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%%\" height=\"100%%\" "
      "fill=\"white\"/>\n<text x=\"%.0f\" y=\"24\" font-size=\"15\">Training loss by epoch "
      "(cross entropy)</text>\n",
      kLeft + kWide + kLegend, kTop + kHigh + 50, kLeft);
  for (double power = bottom; power <= top; ++power) {
    const double at = y(std::pow(10, power));
    svg += format("<path d=\"M%.1f %.1fh%.1f\" stroke=\"#ddd\"/>\n", kLeft, at, kWide);
    svg += format("<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\">%g</text>\n", kLeft - 8, at + 4,
                  std::pow(10, power));
  }
  const auto step = static_cast<size_t>(std::max(1.0, std::ceil(last / 10)));
  for (size_t e = 1; e <= epochs; e += step)
    svg += format("<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">%zu</text>\n",
                  x(static_cast<double>(e)), kTop + kHigh + 20, e);
  svg += format("<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">epoch</text>\n",
                kLeft + kWide / 2, kTop + kHigh + 40);
  for (size_t n = 0; n < curves.size(); ++n) {
    svg +=
        "<path fill=\"none\" stroke-width=\"1.6\" stroke=\"" + colour(n, curves.size()) + "\" d=\"";
    for (size_t e = 0; e < curves[n].loss.size(); ++e)
      svg +=
          format("%c%.1f %.1f", e ? 'L' : 'M', x(static_cast<double>(e + 1)), y(curves[n].loss[e]));
    svg += "\"/>\n";
    const double at = kTop + 10 + static_cast<double>(n) * 20;
    svg += format("<path d=\"M%.0f %.0fh20\" stroke-width=\"3\" stroke=\"%s\"/>\n",
                  kLeft + kWide + 16, at, colour(n, curves.size()).c_str());
    svg += format("<text x=\"%.0f\" y=\"%.0f\">", kLeft + kWide + 42, at + 4) + curves[n].name +
           "</text>\n";
  }
  svg += "</svg>\n";
  std::ofstream file(path, std::ios::binary);
  file << svg;
  file.close();
  if (!file) throw std::runtime_error(path + ": cannot be written");
}

}  // namespace digits
