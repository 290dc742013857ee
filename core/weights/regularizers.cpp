// SPDX-License-Identifier: Apache-2.0
#include "core/weights/regularizers.hpp"

#include <cmath>
#include <vector>

#include "core/error/error.hpp"
#include "core/tensor/convert.hpp"

namespace attn::weights {
namespace {

using schema::OrthogonalMode;
using schema::RegularizerKind;
using schema::RegularizerSpec;

[[noreturn]] void refuse(const std::string& where, const std::string& found,
                         const std::string& expected, const std::string& hint) {
  throw InvalidArgument(where + ": " + found + "; expected " + expected + "; " + hint,
                        {where, {}, "regularizer", found, expected, hint});
}

struct Factors {
  double l1 = 0.0;
  double l2 = 0.0;
  double orthogonal = 0.0;
};

Factors factors(const RegularizerSpec& s) {
  switch (s.kind) {
    case RegularizerKind::kNone:
      return {};
    case RegularizerKind::kL1:
      return {s.l1, 0.0, 0.0};
    case RegularizerKind::kL2:
      return {0.0, s.l2, 0.0};
    case RegularizerKind::kL1L2:
      return {s.l1, s.l2, 0.0};
    case RegularizerKind::kOrthogonal:
      return {0.0, 0.0, s.factor};
  }
  return {};
}

Factors check(const RegularizerSpec& s, const ConstView& x, const std::string& where) {
  x.check(where);
  if (!dtype_is_floating(x.dtype)) {
    refuse(where, "elements of kind " + std::string(dtype_name(x.dtype)), "a floating kind",
           "leave the regularizer out");
  }
  const Factors f = factors(s);
  for (const double v : {f.l1, f.l2, f.orthogonal}) {
    if (!std::isfinite(v)) {
      refuse(where, "a factor of the regularizer is " + std::to_string(v), "a finite number",
             "correct it");
    }
  }
  if (s.kind == RegularizerKind::kOrthogonal && x.shape.rank() != 2) {
    refuse(where, "the orthogonal regularizer cannot take the shape " + x.shape.to_string(),
           "two extents", "choose another regularizer");
  }
  return f;
}

// Vectors that should be orthogonal to each other: (count, length) dense, of length 1 or 0.
struct Directions {
  size_t count = 0;
  size_t length = 0;
  std::vector<double> unit{};
  std::vector<double> norm{};

  [[nodiscard]] double dot(size_t i, size_t j) const {
    double sum = 0.0;
    for (size_t k = 0; k < length; ++k) sum += unit[i * length + k] * unit[j * length + k];
    return sum;
  }
};

Directions directions(const Array& x, OrthogonalMode mode) {
  const auto rows = static_cast<size_t>(x.shape()[0]);
  const auto columns = static_cast<size_t>(x.shape()[1]);
  const bool by_rows = mode == OrthogonalMode::kRows;
  Directions d;
  d.count = by_rows ? rows : columns;
  d.length = by_rows ? columns : rows;
  d.unit.resize(rows * columns);
  d.norm.resize(d.count);
  const auto* p = x.data<double>();
  for (size_t i = 0; i < d.count; ++i) {
    double sum = 0.0;
    for (size_t k = 0; k < d.length; ++k) {
      const double v = by_rows ? p[i * columns + k] : p[k * columns + i];
      d.unit[i * d.length + k] = v;
      sum += v * v;
    }
    d.norm[i] = std::sqrt(sum);
    for (size_t k = 0; k < d.length && d.norm[i] > 0.0; ++k) d.unit[i * d.length + k] /= d.norm[i];
  }
  return d;
}

double pair_weight(double factor, size_t count) {
  const auto m = static_cast<double>(count);
  return factor / (m * (m - 1.0));  // of each ordered pair
}

double orthogonal_penalty(double factor, const Directions& d) {
  if (d.count < 2) return 0.0;
  double sum = 0.0;
  for (size_t i = 0; i < d.count; ++i) {
    for (size_t j = 0; j < i; ++j) sum += std::fabs(d.dot(i, j));
  }
  return 2.0 * pair_weight(factor, d.count) * sum;
}

double sign(double x) { return x > 0.0 ? 1.0 : x < 0.0 ? -1.0 : 0.0; }

// Gradient by x, in the layout of the directions. With unit vectors u: dP/du_i = 2 w sum_j sign(G_ij) u_j, and
// through the division by the norm: (dP/du - (dP/du . u) u) / norm.
std::vector<double> orthogonal_gradient(double factor, const Directions& d) {
  std::vector<double> all(d.unit.size(), 0.0);
  if (d.count < 2) return all;
  const double weight = 2.0 * pair_weight(factor, d.count);
  for (size_t i = 0; i < d.count; ++i) {
    double* g = &all[i * d.length];
    const double* u = &d.unit[i * d.length];
    if (d.norm[i] == 0.0) continue;
    for (size_t j = 0; j < d.count; ++j) {
      const double s = i == j ? 0.0 : weight * sign(d.dot(i, j));
      for (size_t k = 0; k < d.length; ++k) g[k] += s * d.unit[j * d.length + k];
    }
    double along = 0.0;
    for (size_t k = 0; k < d.length; ++k) along += g[k] * u[k];
    for (size_t k = 0; k < d.length; ++k) g[k] = (g[k] - along * u[k]) / d.norm[i];
  }
  return all;
}

Array as_double(const ConstView& x, const std::string& where) {
  Array wide = Array::uninitialized(ATTN_F64, x.shape);
  convert(x, wide.view(), where);
  return wide;
}

}  // namespace

double penalty(const RegularizerSpec& spec, const ConstView& x, const std::string& where) {
  const Factors f = check(spec, x, where);
  if (spec.kind == RegularizerKind::kNone || x.size() == 0) return 0.0;
  const Array wide = as_double(x, where);
  if (spec.kind == RegularizerKind::kOrthogonal) {
    return orthogonal_penalty(f.orthogonal, directions(wide, spec.mode));
  }
  double absolute = 0.0;
  double square = 0.0;
  const auto* p = wide.data<double>();
  for (int64_t i = 0; i < wide.size(); ++i) {
    absolute += std::fabs(p[i]);
    square += p[i] * p[i];
  }
  // A factor of 0 means not at all, also where the sum is infinite.
  return (f.l1 != 0.0 ? f.l1 * absolute : 0.0) + (f.l2 != 0.0 ? f.l2 * square : 0.0);
}

void add_penalty_gradient(const RegularizerSpec& spec, const ConstView& x, double scale,
                          const View& gradient, const std::string& where) {
  const Factors f = check(spec, x, where);
  gradient.check(where);
  if (gradient.shape != x.shape || !gradient.is_dense() ||
      (gradient.dtype != ATTN_F32 && gradient.dtype != ATTN_F64)) {
    refuse(where,
           "the gradient is " + std::string(dtype_name(gradient.dtype)) + " " +
               gradient.shape.to_string() + (gradient.is_dense() ? "" : ", not dense"),
           "dense float32 or float64 " + x.shape.to_string(), "give a gradient like the weight");
  }
  if (spec.kind == RegularizerKind::kNone || x.size() == 0) return;
  const Array wide = as_double(x, where);
  const auto* p = wide.data<double>();
  std::vector<double> slope(static_cast<size_t>(wide.size()));
  if (spec.kind == RegularizerKind::kOrthogonal) {
    const Directions d = directions(wide, spec.mode);
    const std::vector<double> all = orthogonal_gradient(f.orthogonal, d);
    const bool by_rows = spec.mode == OrthogonalMode::kRows;
    for (size_t i = 0; i < d.count; ++i) {
      for (size_t k = 0; k < d.length; ++k) {
        slope[by_rows ? i * d.length + k : k * d.count + i] = all[i * d.length + k];
      }
    }
  } else {
    for (size_t i = 0; i < slope.size(); ++i) {
      slope[i] = f.l1 * sign(p[i]) + (f.l2 != 0.0 ? 2.0 * f.l2 * p[i] : 0.0);
    }
  }
  for (size_t i = 0; i < slope.size(); ++i) {
    if (gradient.dtype == ATTN_F32) {
      float& g = gradient.as<float>()[i];
      g = static_cast<float>(static_cast<double>(g) + scale * slope[i]);
    } else {
      gradient.as<double>()[i] += scale * slope[i];
    }
  }
}

}  // namespace attn::weights
