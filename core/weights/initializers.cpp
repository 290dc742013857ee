// SPDX-License-Identifier: Apache-2.0
#include "core/weights/initializers.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <new>
#include <vector>

#include "core/error/error.hpp"
#include "core/tensor/convert.hpp"
#include "core/weights/orthogonal.hpp"
#include "core/weights/random.hpp"

namespace attn::weights {
namespace {

using schema::FanMode;
using schema::InitializerKind;
using schema::InitializerSpec;
using schema::ScalingDistribution;

// Standard deviation of a standard normal that is cut at 2.
constexpr double kTruncatedDeviation = 0.87962566103423978;
constexpr double kCut = 2.0;
constexpr int64_t kChunk = 1024;

[[noreturn]] void refuse(const std::string& where, const std::string& found,
                         const std::string& expected, const std::string& hint) {
  throw InvalidArgument(where + ": " + found + "; expected " + expected + "; " + hint,
                        {where, {}, "initializer", found, expected, hint});
}

void check_finite(double x, const char* name, const std::string& where) {
  if (!std::isfinite(x)) {
    refuse(where, std::string("the initializer's ") + name + " is not finite", "a finite number",
           "correct it");
  }
}

// The options that the kind reads.
void check(const InitializerSpec& s, const Shape& shape, const std::string& where) {
  switch (s.kind) {
    case InitializerKind::kConstant:
      check_finite(s.value, "value", where);
      break;
    case InitializerKind::kRandomNormal:
    case InitializerKind::kTruncatedNormal:
      check_finite(s.mean, "mean", where);
      check_finite(s.stddev, "stddev", where);
      if (s.stddev < 0)
        refuse(where, "the initializer's stddev is below 0", "at least 0", "correct it");
      break;
    case InitializerKind::kRandomUniform:
      check_finite(s.minval, "minval", where);
      check_finite(s.maxval, "maxval", where);
      check_finite(s.maxval - s.minval, "range", where);
      if (s.minval > s.maxval) {
        refuse(where, "the initializer's minval is above its maxval", "minval <= maxval",
               "swap them");
      }
      break;
    case InitializerKind::kVarianceScaling:
      check_finite(s.scale, "scale", where);
      if (s.scale <= 0)
        refuse(where, "the initializer's scale is not above 0", "above 0", "correct it");
      break;
    case InitializerKind::kOrthogonal:
    case InitializerKind::kIdentity: {
      check_finite(s.gain, "gain", where);
      const bool orthogonal = s.kind == InitializerKind::kOrthogonal;
      if (orthogonal ? shape.rank() < 2 : shape.rank() != 2) {
        refuse(where,
               std::string(orthogonal ? "orthogonal" : "identity") + " cannot fill the shape " +
                   shape.to_string(),
               orthogonal ? "two extents or more" : "two extents", "choose another initializer");
      }
      break;
    }
    default:
      break;
  }
}

// The largest value of the kind that lies below x.
double below(double x, attn_dtype dtype) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  if (dtype == ATTN_F64) return std::nextafter(x, -kInfinity);
  if (dtype == ATTN_F32) {
    const auto y = static_cast<float>(x);
    return static_cast<double>(static_cast<double>(y) < x
                                   ? y
                                   : std::nextafterf(y, -std::numeric_limits<float>::infinity()));
  }
  // The 16-bit kinds: one unit of rounding (2^-11 and 2^-8) lower is enough.
  const double unit = dtype == ATTN_F16 ? 0x1p-11 : 0x1p-8;
  return x - std::max(std::fabs(x) * unit, 0x1p-24);
}

struct Scaling {
  double scale;
  FanMode mode;
  ScalingDistribution distribution;
};

Scaling scaling(const InitializerSpec& s) {
  constexpr auto kUniform = ScalingDistribution::kUniform;
  constexpr auto kNormal = ScalingDistribution::kTruncatedNormal;
  switch (s.kind) {
    case InitializerKind::kGlorotUniform:
      return {1.0, FanMode::kFanAvg, kUniform};
    case InitializerKind::kGlorotNormal:
      return {1.0, FanMode::kFanAvg, kNormal};
    case InitializerKind::kHeUniform:
      return {2.0, FanMode::kFanIn, kUniform};
    case InitializerKind::kHeNormal:
      return {2.0, FanMode::kFanIn, kNormal};
    case InitializerKind::kLecunUniform:
      return {1.0, FanMode::kFanIn, kUniform};
    case InitializerKind::kLecunNormal:
      return {1.0, FanMode::kFanIn, kNormal};
    default:
      return {s.scale, s.mode, s.distribution};
  }
}

// draw() for each element of the dense target, in order.
template <class Draw>
void fill(const View& target, const std::string& where, Draw&& draw) {
  std::array<double, kChunk> chunk{};
  const int64_t size = target.size();
  const auto bytes = static_cast<int64_t>(dtype_size(target.dtype));
  for (int64_t begin = 0; begin < size; begin += kChunk) {
    const int64_t n = std::min(kChunk, size - begin);
    for (int64_t i = 0; i < n; ++i) chunk[static_cast<size_t>(i)] = draw();
    convert(ConstView(chunk.data(), {n}),
            View(static_cast<char*>(target.data) + begin * bytes, target.dtype, {n}), where);
  }
}

void fill_uniform(const View& target, double low, double high, RandomStream& random,
                  const std::string& where) {
  const double width = high - low;
  const double last = std::max(low, below(high, target.dtype));
  fill(target, where, [&] { return std::min(low + width * random.uniform(), last); });
}

void fill_scaled(const InitializerSpec& s, const View& target, RandomStream& random,
                 const std::string& where) {
  const Scaling scaled = scaling(s);
  const Fans f = fans(target.shape);
  const double fan = scaled.mode == FanMode::kFanIn    ? f.in
                     : scaled.mode == FanMode::kFanOut ? f.out
                                                       : 0.5 * (f.in + f.out);
  const double variance = scaled.scale / std::max(1.0, fan);
  switch (scaled.distribution) {
    case ScalingDistribution::kUniform: {
      const double limit = std::sqrt(3.0 * variance);
      return fill_uniform(target, -limit, limit, random, where);
    }
    case ScalingDistribution::kTruncatedNormal: {
      const double deviation = std::sqrt(variance) / kTruncatedDeviation;
      return fill(target, where, [&] { return deviation * random.truncated_normal(kCut); });
    }
    case ScalingDistribution::kUntruncatedNormal: {
      const double deviation = std::sqrt(variance);
      return fill(target, where, [&] { return deviation * random.normal(); });
    }
  }
}

void fill_orthogonal(double gain, const View& target, RandomStream& random,
                     const std::string& where) {
  const auto columns = static_cast<size_t>(target.shape[target.shape.size() - 1]);
  const size_t rows = static_cast<size_t>(target.size()) / columns;
  const size_t longer = std::max(rows, columns);
  const size_t shorter = std::min(rows, columns);
  std::vector<double> q;
  try {
    q.resize(rows * columns);
    for (double& x : q) x = random.normal();
    orthogonal_factor(q, longer, shorter);
  } catch (const std::bad_alloc&) {
    throw Failure(
        where + ": no memory to orthogonalise " + target.shape.to_string() +
            "; choose another initializer or a smaller layer",
        {where, {}, "initializer", target.shape.to_string(), {}, "choose another initializer"});
  }
  size_t i = 0;
  fill(target, where, [&] {
    const size_t row = i / columns;
    const size_t column = i % columns;
    ++i;
    return gain * (rows >= columns ? q[row * columns + column] : q[column * rows + row]);
  });
}

void fill_dense(const InitializerSpec& s, const View& target, RandomStream& random,
                const std::string& where) {
  switch (s.kind) {
    case InitializerKind::kZeros:
      return fill(target, where, [] { return 0.0; });
    case InitializerKind::kOnes:
      return fill(target, where, [] { return 1.0; });
    case InitializerKind::kConstant:
      return fill(target, where, [&] { return s.value; });
    case InitializerKind::kRandomNormal:
      return fill(target, where, [&] { return s.mean + s.stddev * random.normal(); });
    case InitializerKind::kTruncatedNormal:
      return fill(target, where, [&] { return s.mean + s.stddev * random.truncated_normal(kCut); });
    case InitializerKind::kRandomUniform:
      return fill_uniform(target, s.minval, s.maxval, random, where);
    case InitializerKind::kOrthogonal:
      return fill_orthogonal(s.gain, target, random, where);
    case InitializerKind::kIdentity: {
      int64_t i = 0;
      return fill(target, where, [&] {
        const bool diagonal = i / target.shape[1] == i % target.shape[1];
        ++i;
        return diagonal ? s.gain : 0.0;
      });
    }
    default:
      return fill_scaled(s, target, random, where);
  }
}

}  // namespace

Fans fans(const Shape& shape) {
  if (shape.rank() == 0) return {1.0, 1.0};
  if (shape.rank() == 1) return {static_cast<double>(shape[0]), static_cast<double>(shape[0])};
  const size_t last = shape.size() - 1;
  double field = 1.0;
  for (size_t i = 0; i + 1 < last; ++i) field *= static_cast<double>(shape[i]);
  return {field * static_cast<double>(shape[last - 1]), field * static_cast<double>(shape[last])};
}

bool is_random(const InitializerSpec& spec) noexcept {
  switch (spec.kind) {
    case InitializerKind::kZeros:
    case InitializerKind::kOnes:
    case InitializerKind::kConstant:
    case InitializerKind::kIdentity:
      return false;
    default:
      return true;
  }
}

void initialize(const InitializerSpec& spec, const View& target, uint64_t layer_seed,
                const std::string& path) {
  target.check(path);
  check(spec, target.shape, path);
  if (target.size() == 0) return;
  RandomStream random(spec.seed.value_or(layer_seed), weight_stream(path));
  if (target.is_dense()) return fill_dense(spec, target, random, path);
  Array dense = Array::uninitialized(target.dtype, target.shape);
  fill_dense(spec, dense.view(), random, path);
  convert(dense, target, path);
}

Array initial_weight(const InitializerSpec& spec, attn_dtype dtype, const Shape& shape,
                     uint64_t layer_seed, const std::string& path) {
  Array a = Array::uninitialized(dtype, shape);
  initialize(spec, a.view(), layer_seed, path);
  return a;
}

}  // namespace attn::weights
