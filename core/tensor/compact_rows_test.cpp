// SPDX-License-Identifier: Apache-2.0
#include "core/tensor/compact_rows.hpp"

#include <catch2/catch.hpp>

#include <cmath>
#include <vector>

#include "core/tensor/strided.hpp"

using namespace attn;

namespace {

attn_view view_of(void* data, const std::vector<int64_t>& shape) {
  attn_view v{};
  v.data = data;
  v.dtype = ATTN_F32;
  v.rank = static_cast<int32_t>(shape.size());
  for (size_t i = 0; i < shape.size(); ++i) v.shape[i] = shape[i];
  set_dense_strides(v);
  return v;
}

}  // namespace

TEST_CASE("compact rows: any strides in, any view out") {
  constexpr int64_t kRows = 6, kLength = 300;
  std::vector<float> x(kRows * kLength);
  for (size_t i = 0; i < x.size(); ++i)
    x[i] = static_cast<float>(std::sin(static_cast<double>(i)) * std::pow(5.0, i / kLength));
  // The same numbers with the axes in another order in memory.
  std::vector<float> turned(x.size());
  for (int64_t r = 0; r < kRows; ++r)
    for (int64_t i = 0; i < kLength; ++i)
      turned[static_cast<size_t>(i * kRows + r)] = x[static_cast<size_t>(r * kLength + i)];
  attn_view from = view_of(turned.data(), {2, 3, kLength});
  from.stride[0] = 3, from.stride[1] = 1, from.stride[2] = kRows;

  for (const StorageKind kind : {StorageKind::bfloat16, StorageKind::float16, StorageKind::int8}) {
    INFO(storage_name(kind));
    // Rows 0 to 2 go behind two rows of other numbers, rows 3 to 5 after one more.
    std::vector<char> bytes(9 * kLength * 2);
    std::vector<float> scales(9), whole(9 * kLength), part;
    CompactRows rows{kind, bytes.data(), kind == StorageKind::int8 ? scales.data() : nullptr,
                     kLength, 2 * kLength};
    attn_view to = view_of(nullptr, {2, 3, kLength});
    to.stride[0] = 4 * kLength;
    REQUIRE(narrow(from, to, rows));
    rows.first = 0;
    widen(view_of(nullptr, {9, kLength}), rows, whole.data());
    for (int64_t r = 0; r < kRows; ++r) {
      const double most = std::pow(5.0, r);
      for (int64_t i = 0; i < kLength; ++i) {
        const double d = whole[static_cast<size_t>((r + 2 + r / 3) * kLength + i)] -
                         static_cast<double>(x[static_cast<size_t>(r * kLength + i)]);
        REQUIRE(std::abs(d) <= most * (kind == StorageKind::float16 ? 1e-3 : 1.0 / 253));
      }
    }
    // A view that cuts rows and takes every second element, rows last.
    attn_view cut = view_of(nullptr, {10, 3});
    cut.stride[0] = 2, cut.stride[1] = kLength;
    rows.first = 2 * kLength + 7;
    part.resize(30);
    widen(cut, rows, part.data());
    for (int64_t i = 0; i < 10; ++i)
      for (int64_t r = 0; r < 3; ++r)
        REQUIRE(part[static_cast<size_t>(i * 3 + r)] ==
                whole[static_cast<size_t>((r + 2) * kLength + 7 + 2 * i)]);
  }
  x[0] = 1e6f;
  std::vector<char> bytes(x.size() * 2);
  const attn_view all = view_of(x.data(), {kRows, kLength});
  CHECK_FALSE(narrow(all, all, {StorageKind::float16, bytes.data(), nullptr, kLength, 0}));
}
