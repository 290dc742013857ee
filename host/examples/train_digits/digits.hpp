// SPDX-License-Identifier: Apache-2.0
//
// 1,797 handwritten digits of 8 x 8 grey values, as sixteen patches of 2 x 2 pixels.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace digits {

inline constexpr int64_t kPatches = 16;   // of an image, 4 x 4 row by row
inline constexpr int64_t kPatchSize = 4;  // grey values of a patch
inline constexpr int64_t kClasses = 10;

struct Images {
  std::vector<float> patches;  // (count, kPatches, kPatchSize)
  std::vector<int32_t> labels;
  [[nodiscard]] int64_t count() const { return static_cast<int64_t>(labels.size()); }
};

struct Digits {
  Images train, test;
};

// Throws attn's errors when the file is not what it should be.
[[nodiscard]] Digits read_digits(const std::string& path);

// The images of the listed numbers, one after another.
[[nodiscard]] Images pick(const Images& from, const int64_t* numbers, int64_t count);

}  // namespace digits
