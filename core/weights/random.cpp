// SPDX-License-Identifier: Apache-2.0
#include "core/weights/random.hpp"

#include <bit>
#include <cmath>
#include <string>

#include "core/error/error.hpp"
#include "core/kernels/philox.hpp"

namespace attn {
namespace {

constexpr double kLn2High = 0x1.62e42fefa3800p-1;  // ln 2 in 42 bits: times an exponent it is exact
constexpr double kLn2Low = 0x1.ef35793c76730p-45;  // the rest
constexpr double kSqrt2 = 0x1.6a09e667f3bcdp0;

template <size_t N>
double polynomial(const std::array<double, N>& lowest_first, double x) noexcept {
  double y = lowest_first[N - 1];
  for (size_t i = N - 1; i-- > 0;) y = y * x + lowest_first[i];
  return y;
}

// AS 241, table of PPND16: numerator and denominator for the middle, the tail and the far tail.
constexpr std::array<double, 8> kMiddleTop{3.3871328727963666080e0, 1.3314166789178437745e2,
                                           1.9715909503065514427e3, 1.3731693765509461125e4,
                                           4.5921953931549871457e4, 6.7265770927008700853e4,
                                           3.3430575583588128105e4, 2.5090809287301226727e3};
constexpr std::array<double, 8> kMiddleBottom{1.0,
                                              4.2313330701600911252e1,
                                              6.8718700749205790830e2,
                                              5.3941960214247511077e3,
                                              2.1213794301586595867e4,
                                              3.9307895800092710610e4,
                                              2.8729085735721942674e4,
                                              5.2264952788528545610e3};
constexpr std::array<double, 8> kTailTop{1.42343711074968357734e0,  4.63033784615654529590e0,
                                         5.76949722146069140550e0,  3.64784832476320460504e0,
                                         1.27045825245236838258e0,  2.41780725177450611770e-1,
                                         2.27238449892691845833e-2, 7.74545014278341407640e-4};
constexpr std::array<double, 8> kTailBottom{1.0,
                                            2.05319162663775882187e0,
                                            1.67638483018380384940e0,
                                            6.89767334985100004550e-1,
                                            1.48103976427480074590e-1,
                                            1.51986665636164571966e-2,
                                            5.47593808499534494600e-4,
                                            1.05075007164441684324e-9};
constexpr std::array<double, 8> kFarTop{6.65790464350110377720e0,  5.46378491116411436990e0,
                                        1.78482653991729133580e0,  2.96560571828504891230e-1,
                                        2.65321895265761230930e-2, 1.24266094738807843860e-3,
                                        2.71155556874348757815e-5, 2.01033439929228813265e-7};
constexpr std::array<double, 8> kFarBottom{1.0,
                                           5.99832206555887937690e-1,
                                           1.36929880922735805310e-1,
                                           1.48753612908506148525e-2,
                                           7.86869131145613259100e-4,
                                           1.84631831751005468180e-5,
                                           1.42151175831644588870e-7,
                                           2.04426310338993978564e-15};

}  // namespace

double portable_log(double x) noexcept {
  // x = m 2^e with m in [sqrt(1/2), sqrt(2)); log m = 2 artanh(s), s = (m - 1) / (m + 1), |s| < 0.1716.
  const auto bits = std::bit_cast<uint64_t>(x);
  auto e = static_cast<double>(static_cast<int>(bits >> 52) - 1023);
  double m = std::bit_cast<double>((bits & ((uint64_t{1} << 52) - 1)) | (uint64_t{1023} << 52));
  if (m > kSqrt2) {
    m *= 0.5;
    e += 1.0;
  }
  const double f = m - 1.0;  // exact
  const double s = f / (m + 1.0);
  const double s2 = s * s;
  // The first term left out is below 0.0295^11 / 23 = 3e-19 of the sum.
  double series = 0.0;
  for (int k = 21; k >= 3; k -= 2) series = (series + 1.0 / k) * s2;
  // 2 artanh(s) = 2 s + 2 s series, and 2 s = f - s f: the large part f is exact.
  return e * kLn2High + (f - (s * f - (2.0 * s * series + e * kLn2Low)));
}

namespace {
bool in_middle(double q) { return std::fabs(q) <= 0.425; }
double middle(double q) {
  const double r = 0.180625 - q * q;
  return q * (polynomial(kMiddleTop, r) / polynomial(kMiddleBottom, r));
}
}  // namespace

namespace {
double distance(double p) { return std::sqrt(-portable_log(p < 0.5 ? p : 1.0 - p)); }
double tail(double r) { return polynomial(kTailTop, r - 1.6) / polynomial(kTailBottom, r - 1.6); }
double far(double r) { return polynomial(kFarTop, r - 5.0) / polynomial(kFarBottom, r - 5.0); }
}  // namespace

double inverse_normal(double p) noexcept {
  const double q = p - 0.5;
  if (in_middle(q)) return middle(q);
  const double r = distance(p), z = r <= 5.0 ? tail(r) : far(r);
  return q < 0.0 ? -z : z;
}

void RandomStream::refill() {
  uint32_t words[2 * kKept];
  kernels::philox_blocks(seed_, stream_, counter_, kKept / 2, words);
  counter_ += kKept / 2;
  for (size_t i = 0; i < kKept; ++i)
    kept_[i] = words[2 * i] | static_cast<uint64_t>(words[2 * i + 1]) << 32;
  next_ = 0;
  has_normal_ = false;
}

// Formula by formula, each without a branch: most numbers lie in the middle, nearly all others in the tail.
void RandomStream::make_normals() {
  if (next_ == kKept) refill();
  std::array<double, kKept> p, r;
  std::array<size_t, kKept> outer;
  for (size_t i = 0; i < kKept; ++i) p[i] = (static_cast<double>(kept_[i] >> 12) + 0.5) * 0x1p-52;
  for (size_t i = 0; i < kKept; ++i) normal_[i] = middle(p[i] - 0.5);
  size_t n = 0;
  for (size_t i = 0; i < kKept; ++i) {
    outer[n] = i;
    n += in_middle(p[i] - 0.5) ? 0 : 1;
  }
  for (size_t j = 0; j < n; ++j) r[j] = distance(p[outer[j]]);
  for (size_t j = 0; j < n; ++j) {
    const double z = r[j] <= 5.0 ? tail(r[j]) : far(r[j]);
    normal_[outer[j]] = p[outer[j]] < 0.5 ? -z : z;
  }
  has_normal_ = true;
}

double RandomStream::truncated_normal(double bound) {
  if (!(bound >= 0.01)) {
    const std::string found = std::to_string(bound);
    throw InvalidArgument(
        "truncated normal: the bound is " + found + "; expected at least 0.01; use a uniform draw",
        {"truncated normal", {}, "bound", found, "at least 0.01", "use a uniform draw"});
  }
  for (;;) {
    const double z = normal();
    if (std::fabs(z) < bound) return z;
  }
}

}  // namespace attn
