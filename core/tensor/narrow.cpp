// SPDX-License-Identifier: Apache-2.0
#include "core/tensor/narrow.hpp"

#include <algorithm>
#include <bit>
#include <limits>

namespace attn {
namespace {

constexpr uint32_t kMagnitude = 0x7fffffffu, kInfinity = 0x7f800000u;

uint32_t bits_of(float x) { return std::bit_cast<uint32_t>(x); }

uint32_t bfloat16_of(uint32_t b) {
  const uint32_t rounded = (b + 0x7fffu + (b >> 16 & 1u)) >> 16;
  return (b & kMagnitude) > kInfinity ? b >> 16 | 0x40u : rounded;
}

uint32_t float16_of(uint32_t b) {
  const uint32_t sign = b >> 16 & 0x8000u, m = b & kMagnitude;
  // Below 2^-14 the bits are multiples of 2^-24: a sum with 0.5, whose last bit is one of these, rounds to them.
  const uint32_t small = bits_of(std::bit_cast<float>(m) + 0.5f) - bits_of(0.5f);
  const uint32_t normal = (m - (112u << 23) + 0xfffu + (m >> 13 & 1u)) >> 13;
  const uint32_t nan = 0x7e00u | (m >> 13 & 0x3ffu);
  uint32_t h = m < (113u << 23) ? small : normal;
  h = m >= 0x477ff000u ? 0x7c00u : h;  // 65520 and above
  return sign | (m > kInfinity ? nan : h);
}

template <class To>
bool narrow_by(int64_t n, const float* x, uint16_t* y, uint32_t infinity, To&& to) {
  uint32_t lost = 0;
  for (int64_t i = 0; i < n; ++i) {
    const uint32_t b = bits_of(x[i]), h = to(b);
    y[i] = static_cast<uint16_t>(h);
    lost |= static_cast<uint32_t>((h & 0x7fffu) == infinity && (b & kMagnitude) < kInfinity);
  }
  return lost == 0;
}

}  // namespace

bool narrow(StorageKind kind, int64_t n, const float* x, uint16_t* y) {
  if (kind == StorageKind::bfloat16) return narrow_by(n, x, y, 0x7f80u, bfloat16_of);
  return narrow_by(n, x, y, 0x7c00u, float16_of);
}

Scale scale_of(uint32_t largest_magnitude) {
  constexpr float kLeast = 0x1p-119f;  // below, the reciprocal is no number
  if (largest_magnitude >= kInfinity) return {std::numeric_limits<float>::quiet_NaN(), 0};
  const float x = std::bit_cast<float>(largest_magnitude);
  return x < kLeast ? Scale{0, 0} : Scale{x / 127, 127 / x};
}

uint32_t largest_magnitude(int64_t n, const float* x) {
  uint32_t largest = 0;
  for (int64_t i = 0; i < n; ++i) largest = std::max(largest, bits_of(x[i]) & kMagnitude);
  return largest;
}

void quantize(int64_t n, const float* x, const float* inverse, int64_t step, int8_t* y) {
  // At this magnitude the last bit of a number is 1: the sum is a whole number, and the low byte of its bits is that.
  constexpr float kWhole = 0x1.8p23f;
  if (step == 0) {
    const float by = *inverse;
    for (int64_t i = 0; i < n; ++i) y[i] = static_cast<int8_t>(bits_of(x[i] * by + kWhole));
  } else {
    for (int64_t i = 0; i < n; ++i) y[i] = static_cast<int8_t>(bits_of(x[i] * inverse[i] + kWhole));
  }
}

void widen(StorageKind kind, int64_t n, const void* x, float scale, float* y) {
  const auto* h = static_cast<const uint16_t*>(x);
  switch (kind) {
    case StorageKind::float32:
      std::copy_n(static_cast<const float*>(x), n, y);
      break;
    case StorageKind::bfloat16:
      for (int64_t i = 0; i < n; ++i) y[i] = bfloat16_value(h[i]);
      break;
    case StorageKind::float16:
      for (int64_t i = 0; i < n; ++i) y[i] = float16_value(h[i]);
      break;
    case StorageKind::int8:
      for (int64_t i = 0; i < n; ++i)
        y[i] = static_cast<float>(static_cast<const int8_t*>(x)[i]) * scale;
      break;
  }
}

}  // namespace attn
