// SPDX-License-Identifier: Apache-2.0
//
// Tensors of any kind cut, joined and turned; always copies. Arguments that do not suit are refused
// (InvalidArgument); mapping.cpp says it in the words of a recipe before.
#pragma once

#include <attn/tensor.hpp>

#include <vector>

namespace attn::conversion {

// Elements begin to end - 1 of an axis.
[[nodiscard]] Array sliced(const Array& a, size_t axis, int64_t begin, int64_t end);
[[nodiscard]] Array reshaped(const Array& a, const Shape& shape);
// Axis i of the result is axis order[i] of a.
[[nodiscard]] Array permuted(const Array& a, const std::vector<int64_t>& order);
// Of one kind.
[[nodiscard]] Array concatenated(const std::vector<Array>& parts, size_t axis);
// The last axis is `heads` heads; of each the first r components go from half-split to interleaved pairs:
// new[2i] = old[i], new[2i + 1] = old[i + r/2].
[[nodiscard]] Array interleaved_pairs(const Array& a, int64_t heads, int64_t r);

// Every element of a floating kind plus x, as float64.
[[nodiscard]] Array shifted(const Array& a, double x);

}  // namespace attn::conversion
