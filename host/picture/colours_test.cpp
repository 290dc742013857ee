// SPDX-License-Identifier: Apache-2.0
#include "host/picture/colours.hpp"

#include <catch2/catch.hpp>

#include <cmath>
#include <limits>
#include <vector>

namespace attn::picture {

namespace {

double linear(uint8_t c) {
  const double v = c / 255.0;
  return v <= 0.04045 ? v / 12.92 : std::pow((v + 0.055) / 1.055, 2.4);
}
// CIE lightness, 0 to 100, of what the eye sees; without_red: an eye without the cones for long waves, in which red and
// green are one signal (what both give together).
double lightness(Colour c, bool without_red = false) {
  double y = 0.2126 * linear(c.red) + 0.7152 * linear(c.green) + 0.0722 * linear(c.blue);
  if (without_red) y = 0.1124 * linear(c.red) + 0.8155 * linear(c.green) + 0.0721 * linear(c.blue);
  return y > 0.008856 ? 116 * std::cbrt(y) - 16 : 903.3 * y;
}

}  // namespace

TEST_CASE("pictures: lightness tells values apart, for every eye") {
  const Scale amounts{0, 1}, both{-1, 1, true};
  for (const bool without_red : {false, true}) {
    for (int i = 0; i < 100; ++i) {
      const double v = i / 100.0;
      CHECK(lightness(amounts.colour(v), without_red) >
            lightness(amounts.colour(v + 0.01), without_red));
    }
    for (int i = 0; i < 50; ++i) {
      const double v = i / 50.0;
      CHECK(lightness(both.colour(v), without_red) > lightness(both.colour(v + 0.02), without_red));
      CHECK(lightness(both.colour(-v), without_red) >
            lightness(both.colour(-v - 0.02), without_red));
    }
    CHECK(lightness(amounts.colour(0), without_red) - lightness(amounts.colour(1), without_red) >
          85);
  }
  // The two sides differ in blue less red, which no common kind of colour blindness takes away.
  for (const double v : {0.3, 0.6, 1.0}) {
    const Colour low = both.colour(-v), high = both.colour(v);
    CHECK((low.blue - low.red) - (high.blue - high.red) > 90);
  }
}

TEST_CASE("pictures: scales begin and end where values do") {
  const auto scale = [](std::vector<double> v, bool logarithmic = false) {
    return scale_of(v, logarithmic);
  };
  CHECK(scale({0.1, 0.5}).low == 0);
  CHECK(scale({0.1, 0.5}).high == 0.5);
  CHECK(scale({0.4, 0.5}).low == 0.4);
  CHECK(scale({0, 0.4, 0.5}).low == 0.4);
  CHECK(scale({0, 0.4, 0.5}).colour(0) == kNothing);
  CHECK(scale({0, 0.2, 0.5}).colour(0) == Scale{}.colour(0));
  CHECK(scale({-3, -2}).low == -3);
  CHECK(scale({-3, -2}).high == -2);
  CHECK_FALSE(scale({-3, -2}).is_signed);
  CHECK(scale({-0.25, 2}).low == -2);
  CHECK(scale({-0.25, 2}).is_signed);
  const Scale wide = scale({0.1, 0.1, 0.1, 5}, true);
  CHECK(wide.logarithmic);
  CHECK(wide.place(wide.high) == 1);
  CHECK(wide.place(0) == 0);
  CHECK(wide.value(wide.place(0.7)) == Approx(0.7));
  CHECK_FALSE(scale({0.1, 0.1, 0.1, 5}).logarithmic);
  const double nan = std::numeric_limits<double>::quiet_NaN(),
               inf = std::numeric_limits<double>::infinity();
  CHECK(scale({nan, -inf, 1, 0}).high == 1);
  CHECK(scale({nan, -inf, 1, 0}).low == 0);
  CHECK(scale({1, 0}).colour(nan) == kNothing);
  CHECK(scale({}).high == 1);
  CHECK(scale({3, 3}).colour(3) == Scale{}.colour(1));  // all the same
  CHECK(scale({0, 0}).colour(0) == Scale{}.colour(0));
  CHECK(hex({0x1B, 0, 0xFF}) == "#1B00FF");
}

}  // namespace attn::picture
