// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch.hpp>

#include "core/ops/op_test.hpp"

namespace attn::ops::testing {

TEST_CASE("conv2d: gradients, levels and layouts") {
  struct Case {
    Shape x, k;
    Axes strides;
    bool bias;
  };
  const Case cases[] = {
      {{2, 5, 4, 3}, {3, 3, 3, 7}, {}, true},     // products
      {{1, 4, 6, 20}, {1, 1, 20, 70}, {}, true},  // in place
      {{1, 4, 31, 6},
       {1, 1, 6, 20},
       {},
       false},  // and of rows long enough for products of their own
      {{2, 3, 30, 4}, {3, 5, 4, 9}, {}, true},
      {{2, 6, 5, 3}, {2, 4, 3, 9}, {1}, false},     // even: uneven padding
      {{2, 7, 8, 3}, {3, 3, 3, 6}, {2}, true},      // strides
      {{1, 7, 9, 2}, {1, 2, 2, 5}, {3, 2}, false},  // kernels that skip pixels
      {{2, 2, 3, 5}, {7, 5, 5, 6}, {}, true},       // larger than the map
      {{1, 40, 9, 4}, {3, 3, 4, 5}, {}, true},      // bands of rows
      {{2, 9, 53, 2}, {7, 7, 2, 1}, {}, true},      // planes
      {{3, 37, 70, 3}, {3, 5, 3, 4}, {}, false},
      {{1, 5, 3, 2}, {9, 9, 2, 1}, {}, true},
      {{2, 5, 6, 2}, {3, 3, 2, 1}, {2}, true},  // few channels, but no planes
      {{1, 1, 1, 1}, {1, 1, 1, 1}, {}, false},
  };
  for (const Case& c : cases) {
    Trial t{op_conv2d()};
    t.attrs = {c.strides};
    t.in = {uniform(c.x), uniform(c.k, -1, 1, 2)};
    if (c.bias) t.in.emplace_back(uniform({c.k[3]}, -1, 1, 3));
    t.examine();
  }
}

TEST_CASE("conv2d: is a correlation whose odd padding comes behind") {
  Trial t{op_conv2d()};
  t.in = {Values{{1, 1, 4, 1}, {1, 2, 3, 4}}, Values{{1, 2, 1, 1}, {1, 10}}};
  CHECK(t.run({}).out[0].x == std::vector<double>{21, 32, 43, 4});
  t.attrs = {Axes{1, 2}};
  CHECK(t.run({}).out[0].x == std::vector<double>{21, 43});
}

TEST_CASE("conv2d: one channel each way is the depthwise convolution") {
  Trial full{op_conv2d()}, depthwise{op_depthwise_conv2d()};
  full.in = depthwise.in = {uniform({2, 9, 8, 1}), uniform({4, 3, 1, 1}, -1, 1, 2)};
  full.attrs = depthwise.attrs = {Axes{2, 3}};
  CHECK(full.run({}).out[0].x == depthwise.run({}).out[0].x);
}

TEST_CASE("conv2d: no images, and kernels that do not fit") {
  Trial t{op_conv2d()};
  t.in = {uniform({0, 4, 4, 3}), uniform({3, 3, 3, 2})};
  CHECK(t.run({}).out[0].shape == Shape{0, 4, 4, 2});
  t.in = {uniform({1, 4, 4, 3}), uniform({3, 3, 2, 2})};
  CHECK(t.refusal().find("expected (kh, kw, 3, out)") != std::string::npos);
  t.in = {uniform({4, 4, 3}), uniform({3, 3, 3, 2})};
  CHECK(t.refusal().find("(batch, H, W, channels)") != std::string::npos);
  t.in = {uniform({1, 4, 4, 3}), uniform({3, 3, 3, 2}), uniform({3})};
  CHECK(t.refusal().find("expected (2)") != std::string::npos);
  t.in = {uniform({1, 4, 4, 3}), uniform({3, 3, 3, 2})};
  t.attrs = {Axes{0}};
  CHECK(t.refusal().find("at least 1") != std::string::npos);
}

}  // namespace attn::ops::testing
