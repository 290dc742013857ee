// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace simd_checks {

// Each returns the first thing that does not hold; nullptr: all does.
struct Checks {
  const char* (*single)();
  const char* (*twice)();  // in double
};
const Checks& checks(const char* level);

}  // namespace simd_checks
