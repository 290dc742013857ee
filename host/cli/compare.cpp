// SPDX-License-Identifier: Apache-2.0
#include "host/cli/compare.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace attn::cli {

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

Array doubles(const ConstView& v) { return Array::copy_of(v).astype(ATTN_F64); }

bool same_shape(const Shape& a, const Shape& b) {
  return a == b || (a.rank() <= 1 && b.rank() <= 1 && a.elements() == 1 && b.elements() == 1);
}

std::string index_text(const Shape& shape, int64_t at) {
  std::string text;
  for (int axis = shape.rank() - 1; axis >= 0; --axis) {
    const int64_t extent = shape[static_cast<size_t>(axis)];
    text = std::to_string(at % extent) + (text.empty() ? "" : ", ") + text;
    at /= extent;
  }
  return "[" + text + "]";
}

Difference shapes_differ(const std::string& tensor, const Shape& got, const Shape& expected) {
  Difference d{tensor, "", 0, 0, kInfinity, 0, ""};
  d.text = fmt::format("{}: shape {}, expected {}", tensor, got.to_string(), expected.to_string());
  return d;
}

// 0 where both are the same infinity or both are NaN.
double distance(double a, double b) {
  if (a == b || (std::isnan(a) && std::isnan(b))) return 0;
  const double d = std::fabs(a - b);
  return std::isnan(d) ? kInfinity : d;
}

}  // namespace

double largest_magnitude(const ConstView& view) {
  const Array a = doubles(view);
  double largest = 0;
  for (int64_t i = 0; i < a.size(); ++i)
    largest = std::max(largest, std::fabs(a.data<double>()[i]));
  return largest;
}

std::optional<Difference> compare_scaled(const std::string& tensor, const ConstView& got,
                                         const ConstView& expected, double tolerance,
                                         double least_scale) {
  if (!same_shape(got.shape, expected.shape))
    return shapes_differ(tensor, got.shape, expected.shape);
  const Array a = doubles(got), b = doubles(expected);
  const double scale = std::max(largest_magnitude(expected), least_scale);
  double worst = 0;
  int64_t at = 0;
  for (int64_t i = 0; i < a.size(); ++i)
    if (const double d = distance(a.data<double>()[i], b.data<double>()[i]); d > worst)
      worst = d, at = i;
  const double error = worst == 0 ? 0 : scale > 0 ? worst / scale : kInfinity;
  if (error <= tolerance) return std::nullopt;
  Difference d{tensor,
               index_text(expected.shape, at),
               a.data<double>()[at],
               b.data<double>()[at],
               error,
               tolerance,
               ""};
  d.text = fmt::format(
      "{}{}: got {:.9g}, expected {:.9g}; error {:.3g} of the largest, tolerance {:.3g}", tensor,
      d.index, d.got, d.expected, error, tolerance);
  return d;
}

std::optional<Difference> compare_elements(const std::string& tensor, const ConstView& got,
                                           const ConstView& expected, double relative,
                                           double absolute) {
  if (!same_shape(got.shape, expected.shape))
    return shapes_differ(tensor, got.shape, expected.shape);
  const Array a = doubles(got), b = doubles(expected);
  double worst = 1;  // in units of what is allowed
  std::optional<int64_t> at;
  for (int64_t i = 0; i < a.size(); ++i) {
    const double y = b.data<double>()[i];
    const double d = distance(a.data<double>()[i], y);
    if (d == 0) continue;
    const double allowed = relative * std::fabs(y) + absolute;
    if (const double units = d / allowed; units > worst || std::isnan(units)) worst = units, at = i;
  }
  if (!at) return std::nullopt;
  const double x = a.data<double>()[*at], y = b.data<double>()[*at];
  Difference d{tensor,         index_text(expected.shape, *at),    x, y,
               distance(x, y), relative * std::fabs(y) + absolute, ""};
  d.text = fmt::format("{}{}: got {:.9g}, expected {:.9g}; error {:.3g}, tolerance {:.3g}", tensor,
                       d.index, x, y, d.error, d.tolerance);
  return d;
}

}  // namespace attn::cli
