// SPDX-License-Identifier: Apache-2.0
#include "host/picture/colours.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <vector>

namespace attn::picture {

namespace {

// Control points, in equal steps.
constexpr Colour kAmounts[] = {{0xFD, 0xFB, 0xE6}, {0xDD, 0xEC, 0xBE}, {0xA3, 0xD5, 0xB4},
                               {0x5E, 0xB2, 0xBA}, {0x34, 0x84, 0xB0}, {0x26, 0x55, 0x96},
                               {0x1B, 0x2C, 0x66}, {0x0D, 0x10, 0x33}};
constexpr Colour kSigned[] = {{0x10, 0x2A, 0x5E}, {0x2B, 0x5F, 0xA5}, {0x78, 0xA6, 0xD2},
                              {0xC6, 0xDA, 0xEA}, {0xF9, 0xF8, 0xF5}, {0xF2, 0xD3, 0xB4},
                              {0xDE, 0x96, 0x5B}, {0xAA, 0x56, 0x1E}, {0x5C, 0x28, 0x0B}};
constexpr int kSteps = 100;

Colour between(std::span<const Colour> points, double place) {
  const double at = place * static_cast<double>(points.size() - 1);
  const size_t i = std::min(static_cast<size_t>(at), points.size() - 2);
  const double part = at - static_cast<double>(i);
  const auto mix = [&](uint8_t a, uint8_t b) {
    return static_cast<uint8_t>(std::lround(a + part * (b - a)));
  };
  const Colour &a = points[i], &b = points[i + 1];
  return {mix(a.red, b.red), mix(a.green, b.green), mix(a.blue, b.blue)};
}

}  // namespace

std::string hex(Colour c) { return fmt::format("#{:02X}{:02X}{:02X}", c.red, c.green, c.blue); }

double Scale::place(double v) const {
  if (high <= low) return 0;
  const double at = logarithmic ? std::log(std::max(v, low) / low) / std::log(high / low)
                                : (v - low) / (high - low);
  return std::clamp(at, 0.0, 1.0);
}

double Scale::value(double at) const {
  return logarithmic ? low * std::pow(high / low, at) : low + at * (high - low);
}

Colour Scale::colour(double v) const {
  if (!std::isfinite(v) || (v == 0 && low > 0 && !logarithmic)) return kNothing;
  const double at = std::round(place(v) * kSteps) / kSteps;
  return is_signed ? between(kSigned, at) : between(kAmounts, at);
}

Scale scale_of(std::span<const double> values, bool may_be_logarithmic) {
  std::vector<double> v;
  std::copy_if(values.begin(), values.end(), std::back_inserter(v),
               [](double x) { return std::isfinite(x); });
  if (v.empty()) return {};
  const auto [least, most] = std::minmax_element(v.begin(), v.end());
  // What is exactly 0 is masked, or out of reach, and says nothing of the others.
  double smallest = *most;
  for (const double x : v)
    if (x > 0) smallest = std::min(smallest, x);
  Scale scale{0, *most};
  if (*most < 0) {
    scale.low = *least;
  } else if (*least < 0) {
    scale.high = std::max(-*least, *most);
    scale.low = -scale.high;
    scale.is_signed = true;
  } else if (smallest > *most / 2 && smallest < *most) {
    scale.low = smallest;
  } else if (may_be_logarithmic) {
    const auto middle = v.begin() + static_cast<std::ptrdiff_t>(v.size() / 2);
    std::nth_element(v.begin(), middle, v.end());
    if (*middle > 0 && scale.high > 20 * *middle) scale = {*middle / 20, scale.high, false, true};
  }
  if (scale.high <= scale.low) scale.high = scale.low + 1;
  return scale;
}

}  // namespace attn::picture
