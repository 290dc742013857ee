// SPDX-License-Identifier: Apache-2.0
//
// What would read beyond a tensor is refused by the functions themselves, whoever calls them.
#include "host/library/convert/rearrange.hpp"

#include <attn/error.hpp>
#include <catch2/catch.hpp>

#include <limits>

namespace attn::conversion {

TEST_CASE("rearrange: parts that a tensor does not have are refused") {
  constexpr int64_t kMost = std::numeric_limits<int64_t>::max(), kLeast = -kMost - 1;
  const Array a(ATTN_F32, {4, 6}), wide(ATTN_F64, {4, 6}), other(ATTN_F32, {3, 6}),
      scalar(ATTN_F32, {});
  CHECK(sliced(a, 1, 2, 6).shape() == Shape{4, 4});
  CHECK(sliced(a, 0, 4, 4).shape() == Shape{0, 6});
  struct Part {
    size_t axis;
    int64_t begin, end;
  };
  for (const Part& p :
       {Part{1, 2, 7}, Part{1, -1, 3}, Part{1, 4, 3}, Part{2, 0, 1}, Part{0, 0, kMost},
        Part{0, kLeast, kMost}, Part{0, kMost, kMost}, Part{0, kMost, kLeast}})
    CHECK_THROWS_AS(sliced(a, p.axis, p.begin, p.end), InvalidArgument);
  CHECK_THROWS_AS(sliced(scalar, 0, 0, 1), InvalidArgument);
  CHECK_THROWS_AS(reshaped(a, {5, 5}), InvalidArgument);
  for (const std::vector<int64_t>& order :
       std::vector<std::vector<int64_t>>{{0}, {0, 0}, {0, 2}, {-1, 0}, {0, 1, 2}, {kMost, 0}})
    CHECK_THROWS_AS(permuted(a, order), InvalidArgument);
  const auto joined = [](const Array& x, const Array& y, size_t axis) {
    std::vector<Array> parts;
    parts.push_back(x.clone()), parts.push_back(y.clone());
    return concatenated(parts, axis);
  };
  CHECK(joined(a, other, 0).shape() == Shape{7, 6});
  CHECK_THROWS_AS(joined(a, other, 1), InvalidArgument);
  CHECK_THROWS_AS(joined(a, wide, 0), InvalidArgument);
  CHECK_THROWS_AS(joined(a, scalar, 0), InvalidArgument);
  CHECK_THROWS_AS(joined(a, other, 2), InvalidArgument);
  CHECK_THROWS_AS(concatenated({}, 0), InvalidArgument);
  CHECK(interleaved_pairs(a, 3, 2).shape() == a.shape());
  for (const auto& [heads, r] :
       {std::pair<int64_t, int64_t>{0, 2}, {-3, 2}, {4, 0}, {3, 4}, {2, 3}, {2, -2}})
    CHECK_THROWS_AS(interleaved_pairs(a, heads, r), InvalidArgument);
}

}  // namespace attn::conversion
