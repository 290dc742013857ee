// SPDX-License-Identifier: Apache-2.0
#include "core/tensor/dtype.hpp"

#include <bit>
#include <catch2/catch.hpp>
#include <cmath>
#include <limits>
#include <set>

#include "core/error/error.hpp"

using namespace attn;

TEST_CASE("dtype: names lead there and back, and are distinct") {
  std::set<std::string_view> names;
  for (int code = ATTN_F32; code <= ATTN_BOOL; ++code) {
    const auto dtype = static_cast<attn_dtype>(code);
    CHECK(dtype_is_known(code));
    CHECK(dtype_from_name(dtype_name(dtype)) == dtype);
    CHECK(dtype_from_safetensors_name(dtype_safetensors_name(dtype)) == dtype);
    names.insert(dtype_name(dtype));
    names.insert(dtype_safetensors_name(dtype));
  }
  CHECK(names.size() == 18);
  CHECK(dtype_size(ATTN_F64) == 8);
  CHECK(dtype_size(ATTN_BF16) == 2);
  CHECK(dtype_size(ATTN_BOOL) == 1);
  CHECK(dtype_npy_descr(ATTN_F32) == "<f4");
  CHECK_FALSE(dtype_from_name("float"));
  CHECK_FALSE(dtype_from_safetensors_name("f32"));
  for (const int code : {-1, 0, 10, 1000}) {
    CHECK_FALSE(dtype_is_known(code));
  }
  CHECK_THROWS_AS(dtype_size(static_cast<attn_dtype>(0)), InvalidArgument);
  CHECK_THROWS_AS(dtype_name(static_cast<attn_dtype>(10)), InvalidArgument);
}

namespace {

// Distance-based definition of "nearest, ties to even", independent of the bit arithmetic under test:
// among the two neighbours of x pick the nearer, on a tie the one with an even last bit. `top` is the
// bit pattern of infinity, `limit` its stand-in value: the next power of two.
template <class Value>
uint16_t nearest_bits(double x, uint16_t top, double limit, Value value) {
  const uint16_t sign = std::signbit(x) ? 0x8000 : 0;
  const double magnitude = std::fabs(x);
  uint16_t low = 0;
  uint16_t high = top;
  while (high - low > 1) {
    const auto middle = static_cast<uint16_t>((low + high) / 2);
    (static_cast<double>(value(middle)) <= magnitude ? low : high) = middle;
  }
  if (magnitude >= limit) return static_cast<uint16_t>(sign | top);
  const double above = high == top ? limit : static_cast<double>(value(high));
  const double down = magnitude - static_cast<double>(value(low));  // exact: few significant bits
  const double up = above - magnitude;
  const bool take_low = down < up || (down == up && (low & 1) == 0);
  return static_cast<uint16_t>(sign | (take_low ? low : high));
}

}  // namespace

TEST_CASE("dtype: every 16-bit pattern survives the way to float and back") {
  int wrong = 0;
  for (uint32_t b = 0; b < 0x10000; ++b) {
    const auto bits = static_cast<uint16_t>(b);
    const float half = float16_value(bits);
    const float brain = bfloat16_value(bits);
    if (std::isnan(half) ? !std::isnan(float16_value(float16_bits(half)))
                         : float16_bits(half) != bits)
      ++wrong;
    if (std::isnan(brain) ? !std::isnan(bfloat16_value(bfloat16_bits(brain)))
                          : bfloat16_bits(brain) != bits) {
      ++wrong;
    }
  }
  CHECK(wrong == 0);
}

TEST_CASE("dtype: rounding to 16 bits is to nearest, ties to even") {
  // Each pattern, the middle between it and the next, and the doubles just around that middle.
  int wrong = 0;
  const double inf = std::numeric_limits<double>::infinity();
  for (uint32_t b = 0; b < 0x7c00; ++b) {
    const auto bits = static_cast<uint16_t>(b);
    const double here = static_cast<double>(float16_value(bits));
    const double next = b + 1 == 0x7c00
                            ? 65536.0
                            : static_cast<double>(float16_value(static_cast<uint16_t>(b + 1)));
    const double middle = 0.5 * (here + next);
    for (const double x :
         {here, middle, std::nextafter(middle, 0.0), std::nextafter(middle, inf)}) {
      if (float16_bits(x) != nearest_bits(x, 0x7c00, 65536.0, float16_value)) ++wrong;
      if (float16_bits(-x) != nearest_bits(-x, 0x7c00, 65536.0, float16_value)) ++wrong;
    }
  }
  for (uint32_t b = 0; b < 0x7f80; ++b) {
    const auto bits = static_cast<uint16_t>(b);
    const double here = static_cast<double>(bfloat16_value(bits));
    const double next = b + 1 == 0x7f80
                            ? 0x1p128
                            : static_cast<double>(bfloat16_value(static_cast<uint16_t>(b + 1)));
    const double middle = 0.5 * (here + next);
    for (const double x :
         {here, middle, std::nextafter(middle, 0.0), std::nextafter(middle, inf)}) {
      if (bfloat16_bits(x) != nearest_bits(x, 0x7f80, 0x1p128, bfloat16_value)) ++wrong;
    }
  }
  CHECK(wrong == 0);
  CHECK(float16_bits(65519.99) == 0x7bff);
  CHECK(float16_bits(65520.0) == 0x7c00);
  CHECK(float16_bits(1e300) == 0x7c00);
  CHECK(float16_bits(-inf) == 0xfc00);
  CHECK(float16_bits(0x1p-25) == 0);
  CHECK(float16_bits(-0.0) == 0x8000);
  CHECK(float16_bits(std::numeric_limits<double>::denorm_min()) == 0);
  CHECK(std::isnan(float16_value(float16_bits(std::nan("")))));
  CHECK(std::isnan(bfloat16_value(bfloat16_bits(std::nan("")))));
  // Rounding through float first would give 1.0: only one rounding is allowed.
  CHECK(float16_bits(1.0 + 0x1p-11 + 0x1p-40) == 0x3c01);
}
