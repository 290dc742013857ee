// SPDX-License-Identifier: Apache-2.0
//
// PNG files of 8-bit red, green and blue.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "host/picture/colours.hpp"

namespace attn::picture {

struct Pixels {
  int64_t width = 0, height = 0;
  std::vector<Colour> colours;  // rows from above
};

// dots: pixels a unit, for programs that show pictures at their size.
[[nodiscard]] std::string encode_png(const Pixels& pixels, int dots = 1);

}  // namespace attn::picture
