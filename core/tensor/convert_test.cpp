// SPDX-License-Identifier: Apache-2.0
#include "core/tensor/convert.hpp"

#include <catch2/catch.hpp>
#include <cmath>
#include <limits>

#include "core/error/error.hpp"

using namespace attn;

namespace {

// Bit patterns of +0 are all zero, so one element of zeros is 0 in every kind.
Array one(double value, attn_dtype dtype) {
  return Array::from<double>({value}, {1}).astype(dtype);
}

}  // namespace

TEST_CASE("convert: 0 and 1 pass between all kinds") {
  for (int from = ATTN_F32; from <= ATTN_BOOL; ++from) {
    for (int to = ATTN_F32; to <= ATTN_BOOL; ++to) {
      for (const double x : {0.0, 1.0}) {
        const Array a = one(x, static_cast<attn_dtype>(from));
        const Array b = a.astype(static_cast<attn_dtype>(to));
        CHECK(b.dtype() == to);
        CHECK(b.astype(ATTN_F64).at<double>({0}) == x);
      }
    }
  }
}

TEST_CASE("convert: what does not fit is refused") {
  CHECK_THROWS_AS(one(1e39, ATTN_F32), InvalidArgument);
  CHECK_THROWS_AS(one(65520.0, ATTN_F16), InvalidArgument);
  CHECK_THROWS_AS(one(0.5, ATTN_I32), InvalidArgument);
  CHECK_THROWS_AS(one(2147483648.0, ATTN_I32), InvalidArgument);
  CHECK_THROWS_AS(one(-2147483649.0, ATTN_I32), InvalidArgument);
  CHECK_THROWS_AS(one(-1.0, ATTN_U32), InvalidArgument);
  CHECK_THROWS_AS(one(256.0, ATTN_U8), InvalidArgument);
  CHECK_THROWS_AS(one(0x1p63, ATTN_I64), InvalidArgument);
  CHECK_THROWS_AS(one(2.0, ATTN_BOOL), InvalidArgument);
  CHECK_THROWS_AS(one(std::nan(""), ATTN_BOOL), InvalidArgument);
  CHECK_THROWS_AS(one(std::nan(""), ATTN_I64), InvalidArgument);
  CHECK_THROWS_AS(one(-1.0, ATTN_I64).astype(ATTN_U8), InvalidArgument);
  CHECK_THROWS_AS(Array::from<uint32_t>({4000000000u}, {1}).astype(ATTN_I32), InvalidArgument);
  CHECK(one(-2147483648.0, ATTN_I32).at<int32_t>({0}) == std::numeric_limits<int32_t>::min());
  CHECK(one(-0x1p63, ATTN_I64).at<int64_t>({0}) == std::numeric_limits<int64_t>::min());
  const double inf = std::numeric_limits<double>::infinity();
  CHECK(std::isinf(one(inf, ATTN_F16).astype(ATTN_F32).at<float>({0})));
  CHECK(std::isnan(one(std::nan(""), ATTN_BF16).astype(ATTN_F64).at<double>({0})));
  CHECK(Array::from<int64_t>({(int64_t{1} << 60) + 1}, {1}).astype(ATTN_F32).at<float>({0}) ==
        0x1p60f);
}

TEST_CASE("convert: names the element, and refuses unsound bools and other shapes") {
  std::vector<double> values(24, 1.0);
  values[17] = 300.0;
  Array bytes(ATTN_U8, {2, 3, 4});
  try {
    convert(ConstView(values.data(), {2, 3, 4}), bytes.view(), "weight a/b");
    FAIL("300 was taken for a byte");
  } catch (const InvalidArgument& error) {
    const std::string text = error.what();
    CHECK(text.find("weight a/b") == 0);
    CHECK(text.find("(1, 1, 1)") != std::string::npos);
    CHECK(text.find("uint8") != std::string::npos);
  }
  const uint8_t byte = 2;
  Array flags(ATTN_BOOL, {1});
  CHECK_THROWS_AS(convert(ConstView(&byte, ATTN_BOOL, {1}), flags.view(), "mask"), InvalidArgument);
  CHECK_THROWS_AS(convert(ConstView(values.data(), {24}), bytes.view(), "x"), InvalidArgument);
}

TEST_CASE("convert: between any strides") {
  std::vector<float> source(60);
  for (size_t i = 0; i < source.size(); ++i) source[i] = static_cast<float>(i);
  // (3, 4, 5) seen as (5, 3, 4) on both sides, with gaps in the target.
  std::vector<double> target(200, -1.0);
  convert(ConstView(source.data(), {5, 3, 4}, {1, 20, 5}),
          View(target.data(), {5, 3, 4}, {40, 13, 3}), "x");
  int wrong = 0;
  int touched = 0;
  for (const double t : target) touched += t != -1.0 ? 1 : 0;
  for (int64_t i = 0; i < 5; ++i) {
    for (int64_t j = 0; j < 3; ++j) {
      for (int64_t k = 0; k < 4; ++k) {
        if (target[static_cast<size_t>(i * 40 + j * 13 + k * 3)] !=
            static_cast<double>(i + j * 20 + k * 5))
          ++wrong;
      }
    }
  }
  CHECK(wrong == 0);
  CHECK(touched == 60);
}
