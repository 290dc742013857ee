// SPDX-License-Identifier: Apache-2.0
//
// Colours of values. Both maps are told apart by colour-blind readers and in grey: in the one for amounts lightness falls
// all the way from pale yellow over green and blue to navy; the one for signed values goes from white to blue below zero
// and to brown above it, darker with magnitude.
#pragma once

#include <cstdint>
#include <span>
#include <string>

namespace attn::picture {

struct Colour {
  uint8_t red = 0, green = 0, blue = 0;
  bool operator==(const Colour&) const = default;
};
inline constexpr Colour kInk{0x1B, 0x1F, 0x24}, kGrey{0x5A, 0x62, 0x6B}, kFrame{0xB4, 0xBA, 0xC1},
    kPaper{0xFF, 0xFF, 0xFF}, kMark{0xD0, 0x2B, 0x6B}, kNothing{0xE3, 0xE5, 0xE8};
// Of lines and bars; by Okabe and Ito, without yellow, which is too pale for a line.
inline constexpr Colour kLines[] = {{0x00, 0x72, 0xB2}, {0xD5, 0x5E, 0x00}, {0x00, 0x9E, 0x73},
                                    {0xCC, 0x79, 0xA7}, {0xE6, 0x9F, 0x00}, {0x56, 0xB4, 0xE9},
                                    {0x1B, 0x1F, 0x24}};

[[nodiscard]] std::string hex(Colour c);  // "#1B1F24"

// From values to colours, in 100 steps; what is not finite is kNothing.
struct Scale {
  double low = 0, high = 1;
  bool is_signed = false;    // low = -high; white at 0
  bool logarithmic = false;  // between two positive numbers; what is below low has its colour

  [[nodiscard]] double place(double value) const;  // 0 at low, 1 at high
  [[nodiscard]] Colour colour(double value) const;
  // The value at a place.
  [[nodiscard]] double value(double place) const;
};

// One scale for all of the values: signed where they are on both sides of 0. Otherwise from 0, or, where the least amount
// is more than half of the greatest, from that: what is exactly 0 is kNothing then. All negative: from the least to the
// greatest. Logarithmic where most would be pale and `may_be_logarithmic`.
[[nodiscard]] Scale scale_of(std::span<const double> values, bool may_be_logarithmic);

}  // namespace attn::picture
