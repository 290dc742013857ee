// SPDX-License-Identifier: Apache-2.0
#include "core/tensor/array.hpp"

#include <catch2/catch.hpp>
#include <cstdint>
#include <utility>

#include "core/error/error.hpp"

using namespace attn;

TEST_CASE("array: shape") {
  const Shape s{2, 3, 4};
  CHECK(s.rank() == 3);
  CHECK(s.elements() == 24);
  CHECK(s.dense_strides() == Shape{12, 4, 1});
  CHECK(s.to_string() == "(2, 3, 4)");
  CHECK(Shape{}.elements() == 1);
  CHECK(Shape{}.to_string() == "()");
  CHECK(Shape{3, 0, 2}.elements() == 0);
  CHECK(Shape{3, 0, 2}.dense_strides() == Shape{2, 2, 1});
  CHECK(Shape{2} != Shape{2, 1});
  CHECK_THROWS_AS(Shape(std::vector<int64_t>(9, 1)), InvalidArgument);
  CHECK_THROWS_AS((Shape{-1, 2}.elements()), InvalidArgument);
  const int64_t big = int64_t{1} << 32;
  CHECK_THROWS_AS((Shape{big, big}.elements()), InvalidArgument);
  CHECK_THROWS_AS((Shape{big, big, 0}.elements()), InvalidArgument);
  Shape grown;
  for (int i = 0; i < ATTN_MAX_RANK; ++i) grown.push_back(1);
  CHECK_THROWS_AS(grown.push_back(1), InvalidArgument);
}

TEST_CASE("array: owns zeros, aligned, and is moved or cloned") {
  Array a(ATTN_F32, {5, 7});
  CHECK(reinterpret_cast<uintptr_t>(a.raw()) % 64 == 0);
  CHECK(a.bytes() == 140);
  CHECK(a.to_vector<float>() == std::vector<float>(35, 0.0f));
  a.at<float>({4, 6}) = 2.5f;
  CHECK(a.data<float>()[34] == 2.5f);
  const Array b = a.clone();
  const Array c = std::move(a);
  CHECK(a.size() == 0);  // NOLINT: what is promised of a moved-from array
  CHECK(a.shape() == Shape{0});
  CHECK(b.at<float>({4, 6}) == 2.5f);
  CHECK(c.at<float>({4, 6}) == 2.5f);
  CHECK(b.raw() != c.raw());
  CHECK(Array().size() == 0);
  CHECK(Array(ATTN_F64, {0, 3}).raw() != nullptr);
  CHECK(Array(ATTN_I64, {}).at<int64_t>({}) == 0);
}

TEST_CASE("array: element access is checked") {
  Array a = Array::from<int32_t>({1, 2, 3, 4, 5, 6}, {2, 3});
  CHECK(a.at<int32_t>({1, 0}) == 4);
  CHECK_THROWS_AS(a.data<float>(), InvalidArgument);
  CHECK_THROWS_AS(a.at<int32_t>({2, 0}), InvalidArgument);
  CHECK_THROWS_AS(a.at<int32_t>({0, -1}), InvalidArgument);
  CHECK_THROWS_AS(a.at<int32_t>({0}), InvalidArgument);
  CHECK_THROWS_AS(a.at<int32_t>({0, 0, 0}), InvalidArgument);
  CHECK_THROWS_AS(Array::from<float>({1, 2, 3}, {2, 2}), InvalidArgument);
  CHECK_THROWS_AS(Array(ATTN_F64, {int64_t{1} << 60, 4}), InvalidArgument);
  CHECK_THROWS_AS(Array(static_cast<attn_dtype>(15), {2}), InvalidArgument);
  const Array flags = Array::from<bool>({true, false, true}, {3});
  CHECK(flags.to_vector<bool>() == std::vector<bool>{true, false, true});
}

TEST_CASE("array: views") {
  std::vector<float> memory{0, 1, 2, 3, 4, 5};
  const View dense(memory.data(), {2, 3});
  CHECK(dense.is_dense());
  CHECK(dense.dtype == ATTN_F32);
  CHECK(dense.size() == 6);
  const ConstView transposed(memory.data(), {3, 2}, {1, 3});
  CHECK_FALSE(transposed.is_dense());
  CHECK(Array::copy_of(transposed).to_vector<float>() == std::vector<float>{0, 3, 1, 4, 2, 5});
  const ConstView backwards(memory.data() + 5, {6}, {-1});
  CHECK(Array::copy_of(backwards).to_vector<float>() == std::vector<float>{5, 4, 3, 2, 1, 0});
  const ConstView repeated(memory.data() + 2, {2, 2}, {0, 0});
  CHECK(Array::copy_of(repeated).to_vector<float>() == std::vector<float>(4, 2.0f));
  CHECK(ConstView(memory.data(), {1, 6}, {99, 1}).is_dense());
  CHECK_THROWS_AS(dense.as<double>(), InvalidArgument);
  CHECK_THROWS_AS(View(static_cast<float*>(nullptr), {2}).check("x"), InvalidArgument);
  CHECK_THROWS_AS(View(memory.data(), {2, 3}, {1}).check("x"), InvalidArgument);
  CHECK_NOTHROW(View(static_cast<float*>(nullptr), {2, 0}).check("x"));
  View bad = dense;
  bad.dtype = static_cast<attn_dtype>(0);
  CHECK_THROWS_AS(bad.check("x"), InvalidArgument);
  bad = dense;
  bad.shape[0] = -2;
  try {
    bad.check("layer input");
    FAIL("a negative extent was taken");
  } catch (const InvalidArgument& error) {
    CHECK(error.details().where == "layer input");
    CHECK(std::string(error.what()).find("(-2, 3)") != std::string::npos);
  }
}
