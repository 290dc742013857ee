// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stdint.h>

namespace arrays {

struct Loops {
  // y += factor * x over n floats.
  void (*add_scaled)(int64_t n, float factor, const float* x, float* y);
};
const Loops& loops(const char* level);

}  // namespace arrays
