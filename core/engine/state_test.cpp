// SPDX-License-Identifier: Apache-2.0
#include "core/engine/state.hpp"

#include <catch2/catch.hpp>
#include <vector>

#include "core/error/error.hpp"
#include "core/tensor/strided.hpp"

namespace {

using namespace attn;
using engine::State;
using engine::StateDeclaration;

std::vector<StateDeclaration> history() {
  return {
      {.name = "k", .flags = ATTN_STATE_HISTORY, .axis = 2, .shape = {-1, 2, -1, 3}, .max_len = 8}};
}

// (batch, 2, count, 3), element = 100 * batch row + position
std::vector<float> positions(int64_t batch, int64_t first, int64_t count) {
  std::vector<float> x;
  for (int64_t b = 0; b < batch; ++b)
    for (int g = 0; g < 2; ++g)
      for (int64_t t = 0; t < count; ++t)
        for (int d = 0; d < 3; ++d) x.push_back(static_cast<float>(100 * b + first + t));
  return x;
}

attn_view view_of(std::vector<float>& x, int64_t batch, int64_t count) {
  attn_view v{};
  v.data = x.data();
  v.dtype = ATTN_F32;
  v.rank = 4;
  v.shape[0] = batch;
  v.shape[1] = 2;
  v.shape[2] = count;
  v.shape[3] = 3;
  set_dense_strides(v);
  return v;
}

attn_view append(State& s, int64_t batch, int64_t first, int64_t count, bool keep) {
  std::vector<float> x = positions(batch, first, count);
  s.begin();
  const attn_view all = s.append(0, view_of(x, batch, count), false);
  if (keep) s.commit();
  return all;
}

float at(const attn_view& v, int64_t b, int64_t g, int64_t t, int64_t d) {
  return static_cast<float*>(
      v.data)[b * v.stride[0] + g * v.stride[1] + t * v.stride[2] + d * v.stride[3]];
}

}  // namespace

TEST_CASE("state: appended positions count once they are committed") {
  State s(1, history(), ATTN_F32, 2, 0);
  CHECK(s.capacity() == 8);
  append(s, 2, 0, 3, true);
  CHECK(s.length() == 3);
  append(s, 2, 3, 2, false);  // a call that failed afterwards
  CHECK(s.length() == 3);
  const attn_view all = append(s, 2, 3, 1, true);
  CHECK(all.shape[2] == 4);
  for (int64_t b = 0; b < 2; ++b)
    for (int64_t t = 0; t < 4; ++t) CHECK(at(all, b, 1, t, 2) == static_cast<float>(100 * b + t));
}

TEST_CASE("state: truncate, reorder, reset") {
  State s(1, history(), ATTN_F32, 2, 5);
  append(s, 2, 0, 4, true);
  s.truncate(2);
  const attn_view after = append(s, 2, 7, 1, true);
  CHECK(at(after, 1, 0, 2, 0) == 107.0f);
  s.reorder({1, 1, 0});
  CHECK(s.batch() == 3);
  const attn_view wide = append(s, 3, 9, 1, true);
  CHECK(at(wide, 0, 0, 2, 0) == 107.0f);
  CHECK(at(wide, 2, 0, 2, 0) == 7.0f);
  CHECK(at(wide, 2, 1, 3, 1) == 209.0f);
  s.reset();
  CHECK(s.length() == 0);
}

TEST_CASE("state: a history shows the positions that are committed") {
  State s(1, history(), ATTN_F32, 2, 5);
  CHECK(s.history(0).data == nullptr);
  append(s, 2, 0, 3, true);
  append(s, 2, 3, 2, false);  // a call that failed afterwards
  CHECK(s.history(0).shape[2] == 3);
  CHECK(at(s.history(0), 1, 1, 2, 2) == 102.0f);
  s.truncate(1);
  CHECK(s.history(0).shape[2] == 1);
  CHECK(at(s.history(0), 1, 1, 0, 2) == 100.0f);
  CHECK_THROWS_AS(s.history(1), Failure);
  State narrow(1, history(), ATTN_F32, 2, 5, StorageKind::int8);
  append(narrow, 2, 0, 3, true);
  CHECK_THROWS_AS(narrow.history(0), Failure);
}

TEST_CASE("state: a value has the extents of its first use until it is reset") {
  State s(1, {{.name = "kept", .flags = ATTN_STATE_VALUE, .shape = {-1, 2, -1, 3}}}, ATTN_F32, 2,
          0);
  const auto set = [&](int64_t batch, int64_t count) {
    std::vector<float> x = positions(batch, 0, count);
    const attn_view v = view_of(x, batch, count);
    s.check_value(0, v);
    s.set_value(0, v);
  };
  CHECK(s.value(0).data == nullptr);
  CHECK_THROWS_AS(set(1, 4), InvalidArgument);
  CHECK(s.value(0).data == nullptr);
  set(2, 4);
  CHECK(s.value(0).shape[2] == 4);
  CHECK(at(s.value(0), 1, 1, 3, 2) == 103.0f);
  CHECK(s.length() == 0);
  CHECK_THROWS_AS(set(2, 5), InvalidArgument);
  CHECK_THROWS_AS(set(3, 4), InvalidArgument);
  set(2, 4);
  s.reorder({1, 0, 1});
  CHECK(s.value(0).shape[0] == 3);
  CHECK(at(s.value(0), 2, 0, 1, 0) == 101.0f);
  CHECK_THROWS_AS(set(2, 4), InvalidArgument);
  s.reset();
  CHECK(s.value(0).data == nullptr);
  set(3, 7);
  CHECK(s.value(0).shape[2] == 7);
}

TEST_CASE("state: what does not fit is refused and changes nothing") {
  CHECK_THROWS_AS(State(1, history(), ATTN_F32, 2, 9), InvalidArgument);
  CHECK_THROWS_AS(State(1, history(), ATTN_F32, 0, 4), InvalidArgument);
  CHECK_THROWS_AS(State(1, {}, ATTN_F32, 1, 4), InvalidArgument);
  State s(1, history(), ATTN_F32, 2, 4);
  append(s, 2, 0, 3, true);
  CHECK_THROWS_AS(append(s, 2, 3, 2, true), InvalidArgument);
  CHECK_THROWS_AS(append(s, 1, 3, 1, true), InvalidArgument);
  CHECK_THROWS_AS(s.truncate(4), InvalidArgument);
  CHECK_THROWS_AS(s.truncate(-1), InvalidArgument);
  CHECK_THROWS_AS(s.reorder({0, 2}), InvalidArgument);
  CHECK_THROWS_AS(s.reorder({}), InvalidArgument);
  CHECK(s.length() == 3);
  CHECK(s.batch() == 2);
}

TEST_CASE("state: values count positions by themselves, and have the batch and shape declared") {
  State s(1, {{.name = "sums", .flags = ATTN_STATE_VALUE, .shape = {-1, 2, -1, 3}}}, ATTN_F32, 2,
          0);
  std::vector<float> x = positions(3, 0, 4);
  REQUIRE_NOTHROW(s.check_value(0, view_of(x, 2, 4)));
  REQUIRE_THROWS_AS(s.check_value(0, view_of(x, 3, 4)), InvalidArgument);
  attn_view narrow = view_of(x, 2, 4);
  narrow.shape[1] = 1;
  REQUIRE_THROWS_AS(s.check_value(0, narrow), InvalidArgument);
  narrow.rank = 3;
  REQUIRE_THROWS_AS(s.check_value(0, narrow), InvalidArgument);

  s.begin();
  s.advance(5);
  s.set_value(0, view_of(x, 2, 4));
  REQUIRE(s.length() == 0);
  s.commit();
  REQUIRE(s.length() == 5);
  // A call that failed is forgotten by the next one.
  s.begin();
  s.advance(3);
  s.begin();
  s.commit();
  REQUIRE(s.length() == 5);
  REQUIRE_THROWS_AS(s.advance(-1), Failure);
  REQUIRE_THROWS_AS(s.truncate(2), InvalidArgument);
  s.reset();
  REQUIRE(s.length() == 0);
}
