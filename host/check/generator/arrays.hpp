// SPDX-License-Identifier: Apache-2.0
//
// Between the arrays of the library and the tensors of the checker.
#pragma once

#include <attn/tensor.hpp>

#include "host/check/generator/tensor.hpp"

namespace attn::check {

// Any element kind, any strides. A bool or whole number makes the tensor integral.
[[nodiscard]] inline Tensor to_tensor(const ConstView& view) {
  const Array a = Array::copy_of(view).astype(ATTN_F64);
  Tensor t(a.shape().to_vector(), a.to_vector<double>());
  t.integral = !dtype_is_floating(view.dtype);
  return t;
}

[[nodiscard]] inline Array to_array(const Tensor& t, attn_dtype dtype) {
  return Array::from(t.v, Shape(t.shape)).astype(dtype);
}

// Largest absolute value; of a difference: infinity when a value is NaN on one side alone.
[[nodiscard]] inline double magnitude(const Tensor& t) {
  double m = 0;
  for (const double x : t.v) m = std::max(m, std::fabs(x));
  return m;
}
[[nodiscard]] inline double largest_difference(const Tensor& a, const Tensor& b) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  if (a.shape != b.shape) return kInfinity;
  double largest = 0;
  for (size_t i = 0; i < a.v.size(); ++i) {
    if (a.v[i] == b.v[i] || (std::isnan(a.v[i]) && std::isnan(b.v[i]))) continue;
    const double d = std::fabs(a.v[i] - b.v[i]);
    largest = std::isnan(d) ? kInfinity : std::max(largest, d);
  }
  return largest;
}

}  // namespace attn::check
