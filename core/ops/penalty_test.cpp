// SPDX-License-Identifier: Apache-2.0
#include "core/kinds/kinds.hpp"
#include "core/ops/op_test.hpp"

using namespace attn;
using namespace attn::ops;
using namespace attn::ops::testing;

namespace {
int64_t number(RegularizerKind k) { return static_cast<int64_t>(k); }
}  // namespace

TEST_CASE("penalty: l1 and l2") {
  Trial t{op_penalty()};
  t.attrs = {number(RegularizerKind::l1_l2), 0.3, -0.2, 0.0, 4.0};
  t.in = {uniform({3, 5, 7})};
  t.examine();
  t.in = {uniform({30000})};
  t.examine();
  t.in = {Values{{3}, {1, -2, 0}}};
  CHECK(t.run({}).out[0].x[0] == Approx((0.3 * 3 - 0.2 * 5) / 4));
}

TEST_CASE("penalty: orthogonal rows and columns") {
  Trial t{op_penalty()};
  const RegularizerKind kind =
      GENERATE(RegularizerKind::orthogonal_rows, RegularizerKind::orthogonal_columns);
  t.attrs = {number(kind), 0.0, 0.0, 0.7, 2.0};
  t.in = {uniform({4, 6})};
  t.examine();
  t.in = {Values{{2, 2}, {3, 0, 4, 5}}};  // rows (1, 0), (0.62, 0.78); columns (0.6, 0.8), (0, 1)
  const double dot = kind == RegularizerKind::orthogonal_rows ? 4 / std::sqrt(41.0) : 0.8;
  CHECK(t.run({}).out[0].x[0] == Approx(0.7 * 0.5 * 2 * dot / 1 / 2));
  t.in = {uniform({4})};
  CHECK(t.refusal() == "x has shape (4); the orthogonal regularizer expects a matrix");
}

TEST_CASE("penalty: none, and a single row, charge nothing") {
  Trial t{op_penalty()};
  t.in = {uniform({4})};
  t.examine();
  CHECK(t.run({}).out[0].x[0] == 0);
  t.attrs = {number(RegularizerKind::orthogonal_rows), 0.0, 0.0, 0.7};
  t.in = {uniform({1, 4})};
  CHECK(t.run({}).out[0].x[0] == 0);
}
