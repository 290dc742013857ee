// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch.hpp>

#include "core/ops/op_test.hpp"

namespace attn::ops::testing {

TEST_CASE("depthwise_conv2d: gradients, levels and layouts") {
  struct Case {
    Shape x, k;
    Axes strides;
    bool bias;
  };
  const Case cases[] = {
      {{2, 5, 4, 3}, {3, 3, 3, 1}, {}, true},      {{1, 4, 6, 70}, {7, 7, 70, 1}, {}, false},
      {{2, 5, 7, 2}, {2, 4, 2, 1}, {1}, true},     {{1, 7, 8, 3}, {3, 3, 3, 1}, {2}, true},
      {{1, 6, 5, 2}, {3, 2, 2, 1}, {2, 3}, false}, {{2, 1, 1, 4}, {3, 5, 4, 1}, {}, true},
      {{3, 9, 21, 37}, {5, 11, 37, 1}, {}, true},  {{2, 9, 23, 37}, {4, 8, 37, 1}, {3, 2}, true},
  };
  for (const Case& c : cases) {
    Trial t{op_depthwise_conv2d()};
    t.attrs = {c.strides};
    t.in = {uniform(c.x), uniform(c.k, -1, 1, 2)};
    if (c.bias) t.in.emplace_back(uniform({c.x[3]}, -1, 1, 3));
    t.examine();
  }
}

TEST_CASE("depthwise_conv2d: an even kernel pads one more behind") {
  // x = 1 2 3 4, kernel 1 1 1 1: padding is 1 before and 2 behind.
  Trial t{op_depthwise_conv2d()};
  t.in = {Values{{1, 1, 4, 1}, {1, 2, 3, 4}}, Values{{1, 4, 1, 1}, {1, 1, 1, 1}}};
  CHECK(t.run({}).out[0].x == std::vector<double>{6, 10, 9, 7});
}

TEST_CASE("depthwise_conv2d: kernels that do not fit are refused") {
  Trial t{op_depthwise_conv2d()};
  t.in = {uniform({1, 4, 4, 3}), uniform({3, 3, 2, 1})};
  CHECK(t.refusal().find("expected (kh, kw, 3, 1)") != std::string::npos);
  t.in = {uniform({4, 4, 3}), uniform({3, 3, 3, 1})};
  CHECK(t.refusal().find("(batch, H, W, channels)") != std::string::npos);
  t.in = {uniform({1, 4, 4, 3}), uniform({3, 3, 3, 1})};
  t.attrs = {Axes{0}};
  CHECK(t.refusal().find("at least 1") != std::string::npos);
}

}  // namespace attn::ops::testing
