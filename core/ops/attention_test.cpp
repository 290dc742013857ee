// SPDX-License-Identifier: Apache-2.0
//
// What the operator has beyond plain scores: caps, sinks, windows to both sides, positions of each example, log-sum-exp,
// maps of scores. Against differences and at every level here; against formulas in tests/functional.
#include "core/ops/op_test.hpp"

using namespace attn::ops;
using namespace attn::ops::testing;

namespace {

enum Attribute { kKind, kScale = 7, kCausal, kOffset, kSpan, kBlock, kEmptyRows, kDropout, kTile };
enum More { kLeft = kTile + 1, kRight, kSoftcap, kStage };
enum Port { kQuery, kKey, kValue, kKeep, kBias, kSlope, kLengths, kSinks, kOffsets };

Trial trial(int64_t queries = 5, int64_t keys = 7) {
  Trial t{op_attention()};
  t.layouts = {Layout::dense, Layout::padded};
  t.attrs.resize(kStage + 1);
  t.attrs[kScale] = 0.5;
  t.in.resize(kOffsets + 1);
  t.in[kQuery] = uniform({2, 4, queries, 3}, -2, 2, 1);
  t.in[kKey] = uniform({2, 2, keys, 3}, -2, 2, 2);
  t.in[kValue] = uniform({2, 2, keys, 5}, -1, 1, 3);
  return t;
}
Values integers(const std::vector<double>& x, int32_t dtype) {
  return {{static_cast<int64_t>(x.size())}, x, dtype};
}
void add_all(Trial& t) {
  t.attrs[kSoftcap] = 0.75, t.attrs[kLeft] = int64_t{3}, t.attrs[kRight] = int64_t{1};
  t.in[kSinks] = uniform({4}, -1, 1, 5);
  t.in[kOffsets] = integers({2, -1}, ATTN_I32);
}

}  // namespace

TEST_CASE("attention operator: cap, sinks, windows, offsets, and their gradients") {
  Trial t = trial();
  SECTION("soft cap") { t.attrs[kSoftcap] = 0.75; }
  SECTION("windows") { t.attrs[kLeft] = int64_t{2}, t.attrs[kRight] = int64_t{0}; }
  SECTION("sinks") { t.in[kSinks] = uniform({4}, -1, 1, 5); }
  SECTION("offsets") { t.attrs[kCausal] = true, t.in[kOffsets] = integers({2, -1}, ATTN_I64); }
  SECTION("all, of every kind") {
    add_all(t);
    const int64_t kind = GENERATE(0, 1, 2, 3, 4);
    t.attrs[kKind] = kind;
    if (kind != 0) t.in[kSinks].reset();
    if (kind == 2) t.in[kSlope] = filled({1}, 6);
  }
  SECTION("all, with a bias of each form") {
    add_all(t);
    const Shape shape =
        GENERATE(Shape{5, 7}, Shape{1, 7}, Shape{4, 1, 7}, Shape{2, 1, 5, 7}, Shape{5, 1});
    t.in[kBias] = uniform(shape, -1, 1, 8);
  }
  t.examine();
}

TEST_CASE("attention operator: log-sum-exp and its gradient") {
  Trial t = trial();
  t.wanted = 4, t.differentiated = 2;
  SECTION("alone") {}
  SECTION("beside the output") { t.wanted = 5; }
  SECTION("of capped scores with a sink") {
    add_all(t);
    t.attrs[kRight] = int64_t{3};  // every query sees a key: -infinity has no difference
  }
  SECTION("bias, equal for all keys") { t.in[kBias] = uniform({5, 1}, -1, 1, 8); }
  t.examine();
}

TEST_CASE("attention operator: maps of scores") {
  Trial t = trial();
  t.wanted = 2, t.differentiated = 1;
  add_all(t);
  t.in[kBias] = uniform({5, 7}, -1, 1, 8);
  std::vector<Outcome> stage;
  for (const int64_t n : {0, 1, 2}) {
    t.attrs[kStage] = n;
    stage.push_back(t.run({}));
    for (const attn::cpu::Level level : attn::cpu::available()) {
      const attn::cpu::Level before = attn::cpu::level();
      attn::cpu::set_level(level);
      for (const Layout layout : t.layouts) {
        const Outcome o = t.run({ATTN_F32, layout, 3});
        CHECK(o.clean);
        CHECK(Trial::distance(stage.back().out[1].x, o.out[1].x) < 1e-5);
      }
      attn::cpu::set_level(before);
    }
  }
  for (size_t i = 0; i < stage[0].out[1].x.size(); ++i) {
    const double raw = stage[0].out[1].x[i], capped = 0.75 * std::tanh(raw / 0.75);
    CHECK(std::abs(stage[1].out[1].x[i] - capped) < 1e-12);
    const auto j = static_cast<int64_t>(i) % 7, q = static_cast<int64_t>(i) / 7 % 5;
    const int64_t p = q + (static_cast<int64_t>(i) / 7 / 5 / 4 == 0 ? 2 : -1);
    const bool sees = j >= p - 3 && j <= p + 1;
    const double biased =
        sees ? capped + t.in[kBias]->x[static_cast<size_t>(q * 7 + j)] : -INFINITY;
    CHECK((stage[2].out[1].x[i] == biased || std::abs(stage[2].out[1].x[i] - biased) < 1e-12));
  }
  const std::vector<double> dmap(stage[0].out[1].x.size(), 1.0);
  CHECK_THROWS_WITH(t.run({}, &dmap), Catch::Contains("map of stage 2 has no gradient"));
}

TEST_CASE("attention operator: rows without keys give zeros, and -infinity as log-sum-exp") {
  Trial t = trial();
  t.wanted = 5;
  t.in[kSinks] = uniform({4}, -1, 1, 5);
  t.attrs[kEmptyRows] = int64_t{2};
  SECTION("beyond the window") {
    t.attrs[kRight] = int64_t{0}, t.in[kOffsets] = integers({-3, -3}, ATTN_I64);
  }
  SECTION("bias") {
    t.in[kBias] = uniform({5, 7}, -1, 1, 8);
    std::fill_n(t.in[kBias]->x.begin(), 21, -INFINITY);
  }
  SECTION("bias, equal for all keys") {
    t.in[kBias] = filled({5, 1}, 0.5);
    std::fill_n(t.in[kBias]->x.begin(), 3, -INFINITY);
  }
  for (const int32_t dtype : {ATTN_F32, ATTN_F64}) {
    const Outcome o = t.run({dtype});
    for (int64_t r = 0; r < 40; ++r) {
      const bool masked = r % 5 < 3;
      INFO(r);
      CHECK(std::isinf(o.out[2].x[static_cast<size_t>(r)]) == masked);
      for (int64_t d = 0; d < 5; ++d)
        CHECK((o.out[0].x[static_cast<size_t>(r * 5 + d)] == 0) == masked);
    }
  }
}

TEST_CASE("attention operator: refusals") {
  const auto refused = [](auto&& change) {
    Trial t = trial();
    change(t);
    return t.refusal();
  };
  using Catch::Contains;
  CHECK_THAT(refused([](Trial& t) { t.attrs[kLeft] = int64_t{-2}; }),
             Contains("window_left is -2"));
  CHECK_THAT(refused([](Trial& t) { t.attrs[kSoftcap] = -1.0; }), Contains("softcap is -1"));
  CHECK_THAT(refused([](Trial& t) { t.attrs[kSoftcap] = 1e-40; }), Contains("softcap is 1e-40"));
  CHECK_THAT(refused([](Trial& t) { t.attrs[kSoftcap] = double{NAN}; }),
             Contains("softcap is nan"));
  CHECK_THAT(refused([](Trial& t) { t.attrs[kStage] = int64_t{4}; }), Contains("map_stage 4"));
  CHECK_THAT(refused([](Trial& t) { t.in[kSinks] = uniform({2}); }),
             Contains("sinks have shape (2)") && Contains("(4)"));
  CHECK_THAT(refused([](Trial& t) { t.attrs[kKind] = int64_t{1}, t.in[kSinks] = uniform({4}); }),
             Contains("sinks need softmax"));
  CHECK_THAT(refused([](Trial& t) { t.attrs[kKind] = int64_t{1}, t.wanted = 4; }),
             Contains("no log-sum-exp"));
  CHECK_THAT(refused([](Trial& t) { t.in[kOffsets] = integers({1}, ATTN_I64); }),
             Contains("offsets must be (2)"));
  CHECK_THAT(refused([](Trial& t) {
               t.in[kOffsets] = integers({0, 1e18}, ATTN_I64);
             }),
             Contains("out of range"));
}
