// SPDX-License-Identifier: Apache-2.0
//
// How a new weight is filled: an initializer chosen by name, with its options, as plain data.
//
// Written by the schema (which checks names, keys and ranges), read by
// core/weights/initializers.hpp. Each kind reads only the members named beside it. Plain values, no
// ownership. [any-thread]
#pragma once

#include <cstdint>
#include <optional>

namespace attn::schema {

enum class InitializerKind {
  kZeros,
  kOnes,
  kConstant,         // value
  kRandomNormal,     // mean, stddev, seed
  kRandomUniform,    // minval, maxval, seed: [minval, maxval)
  kTruncatedNormal,  // mean, stddev (before truncation at 2 stddev), seed
  kVarianceScaling,  // scale, mode, distribution, seed
  kGlorotUniform,    // seed; so are the following
  kGlorotNormal,
  kHeUniform,
  kHeNormal,
  kLecunUniform,
  kLecunNormal,
  kOrthogonal,  // gain, seed
  kIdentity     // gain; rank 2 only
};

enum class FanMode { kFanIn, kFanOut, kFanAvg };
enum class ScalingDistribution { kTruncatedNormal, kUntruncatedNormal, kUniform };

struct InitializerSpec {
  InitializerKind kind = InitializerKind::kGlorotUniform;
  double value = 0.0;
  double mean = 0.0;
  double stddev = 0.05;  // finite, >= 0
  double minval = -0.05;
  double maxval = 0.05;  // >= minval
  double gain = 1.0;
  double scale = 1.0;  // finite, > 0
  FanMode mode = FanMode::kFanIn;
  ScalingDistribution distribution = ScalingDistribution::kTruncatedNormal;
  std::optional<std::uint64_t> seed{};  // none: the seed of the layer
};

}  // namespace attn::schema
