// SPDX-License-Identifier: Apache-2.0
//
// Comparing a tensor with the one it should be.
//
// A difference names the tensor, the index where it is worst, both values, the error and what would have been
// allowed. NaN where the other has none, and another shape, are differences, too; a scalar () equals a (1).
#pragma once

#include <attn/tensor.hpp>

#include <optional>
#include <string>

namespace attn::cli {

struct Difference {
  std::string tensor;
  std::string index;  // "[0, 3, 7]"; empty for a shape
  double got = 0, expected = 0, error = 0, tolerance = 0;
  std::string text;  // all of it in words
};

// error = max|got - expected| / max(max|expected|, least_scale), at most `tolerance`.
[[nodiscard]] std::optional<Difference> compare_scaled(const std::string& tensor,
                                                       const ConstView& got,
                                                       const ConstView& expected, double tolerance,
                                                       double least_scale = 0);

// |got - expected| <= relative |expected| + absolute, for each element.
[[nodiscard]] std::optional<Difference> compare_elements(const std::string& tensor,
                                                         const ConstView& got,
                                                         const ConstView& expected, double relative,
                                                         double absolute);

[[nodiscard]] double largest_magnitude(const ConstView& view);

}  // namespace attn::cli
