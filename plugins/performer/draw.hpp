// SPDX-License-Identifier: Apache-2.0
//
// The random projection of a seed: the same numbers on every machine and in
// every version.
//
// SplitMix64 -> uniform in (0, 1) -> pairs of normal numbers (Box-Muller), one
// stream for the whole matrix; all in double, rounded once to float at the end.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

namespace attn::performer {

class Normals {
 public:
  explicit Normals(uint64_t seed) : state_(seed) {}

  double next() {
    if (kept_) {
      kept_ = false;
      return second_;
    }
    const double radius = std::sqrt(-2 * std::log(uniform()));
    const double angle = 2 * 3.141592653589793238462643383279502884 * uniform();
    second_ = radius * std::sin(angle);
    kept_ = true;
    return radius * std::cos(angle);
  }

 private:
  double uniform() {
    state_ += 0x9E3779B97F4A7C15u;
    uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    z ^= z >> 31;
    return (static_cast<double>(z >> 11) + 0.5) * 0x1p-53;
  }
  uint64_t state_;
  double second_ = 0;
  bool kept_ = false;
};

// Makes the n rows of `width` numbers orthonormal, in order: each against the
// earlier ones, twice.
inline void orthonormalize(double* rows, int64_t n, int64_t width) {
  for (int64_t r = 0; r < n; ++r) {
    double* x = rows + r * width;
    for (int pass = 0; pass < 2; ++pass)
      for (int64_t e = 0; e < r; ++e) {
        const double* y = rows + e * width;
        double dot = 0;
        for (int64_t i = 0; i < width; ++i) dot += x[i] * y[i];
        for (int64_t i = 0; i < width; ++i) x[i] -= dot * y[i];
      }
    double square = 0;
    for (int64_t i = 0; i < width; ++i) square += x[i] * x[i];
    const double length = std::sqrt(square);
    for (int64_t i = 0; i < width; ++i) x[i] /= length;
  }
}

// (heads, features, width): blocks of at most `width` orthogonal rows, with the
// lengths of normal vectors (ortho_scaling 0) or all of length ortho_scaling
// sqrt(width). Choromanski et al. 2020, section 2.4.
inline std::vector<float> draw_orthogonal(uint64_t seed, int64_t heads, int64_t features,
                                          int64_t width, double ortho_scaling) {
  Normals normals(seed);
  std::vector<float> out;
  out.reserve(static_cast<size_t>(heads * features * width));
  std::vector<double> block(static_cast<size_t>(width * width));
  for (int64_t h = 0; h < heads; ++h)
    for (int64_t begin = 0; begin < features; begin += width) {
      const int64_t n = begin + width < features ? width : features - begin;
      for (int64_t i = 0; i < n * width; ++i) block[static_cast<size_t>(i)] = normals.next();
      orthonormalize(block.data(), n, width);
      for (int64_t r = 0; r < n; ++r) {
        double length = ortho_scaling * std::sqrt(static_cast<double>(width));
        if (ortho_scaling == 0) {
          double square = 0;
          for (int64_t i = 0; i < width; ++i) {
            const double x = normals.next();
            square += x * x;
          }
          length = std::sqrt(square);
        }
        for (int64_t i = 0; i < width; ++i)
          out.push_back(static_cast<float>(block[static_cast<size_t>(r * width + i)] * length));
      }
    }
  return out;
}

// (heads, frequencies, width): normal numbers / sqrt(width), times
// ortho_scaling where it is not 0.
inline std::vector<float> draw_normal(uint64_t seed, int64_t heads, int64_t frequencies,
                                      int64_t width, double ortho_scaling) {
  Normals normals(seed);
  const double scale = ortho_scaling > 0 ? ortho_scaling : 1;
  std::vector<float> out;
  out.reserve(static_cast<size_t>(heads * frequencies * width));
  for (int64_t i = 0; i < heads * frequencies * width; ++i)
    out.push_back(
        static_cast<float>(normals.next() * scale * (1 / std::sqrt(static_cast<double>(width)))));
  return out;
}

}  // namespace attn::performer
