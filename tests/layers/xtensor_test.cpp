// SPDX-License-Identifier: Apache-2.0
//
// Calls with xt::xarray: the same numbers as calls with arrays, in both dtypes, with masks and options.
#include <attn/xtensor.hpp>
#include <catch2/catch.hpp>

#include <cmath>
#include <xtensor/xmath.hpp>
#include <xtensor/xrandom.hpp>

#include "tests/layers/layers.hpp"

namespace attn::testing {

namespace {

std::unique_ptr<Attention> layer_of(attn_dtype dtype) {
  auto layer = create_attention_layer("multi_head", {{"dim", 16}, {"num_heads", 4}});
  layer->build({Shape{2, 5, 16}, std::nullopt}, {.dtype = dtype, .seed = 3});
  return layer;
}

// (2, 5, 16), different everywhere.
template <class T>
xt::xarray<T> sequence() {
  xt::xarray<T> x = xt::arange<T>(T(160));
  x.reshape({2, 5, 16});
  return xt::sin(T(0.37) * x);
}

// The largest difference of two results.
double apart(const xt::xarray<double>& a, const xt::xarray<double>& b) {
  return xt::amax(xt::abs(a - b))();
}

}  // namespace

TEST_CASE("xtensor: a call on xt::xarray equals the call on arrays") {
  const auto layer = layer_of(ATTN_F32);
  const xt::xarray<float> x = sequence<float>();
  Array plain(ATTN_F32, {2, 5, 16});
  std::copy(x.begin(), x.end(), plain.data<float>());
  const Array wanted = layer->forward(plain);
  const xt::xarray<float> y = forward(*layer, x);
  REQUIRE(y.dimension() == 3);
  CHECK(same_bits(Array::copy_of(as_view(y)), wanted));
  CHECK(xt::all(xt::equal(as_xtensor<float>(wanted.view()), y)));
}

TEST_CASE("xtensor: masks, arguments and float64") {
  const auto layer = layer_of(ATTN_F64);
  const xt::xarray<double> x = sequence<double>();
  const xt::xarray<double> all = xt::ones<double>({2, 5});
  xt::xarray<double> some = all;
  some(0, 4) = 0;
  const xt::xarray<double> y = forward(*layer, x);
  CHECK(apart(forward(*layer, x, all), y) < 1e-14);
  const xt::xarray<double> masked = forward(*layer, x, some);
  CHECK(apart(masked, y) > 1e-3);
  // The example whose mask keeps everything is untouched.
  CHECK(apart(xt::view(masked, 1), xt::view(y, 1)) < 1e-14);

  const Argument causal("use_causal_mask", true);
  const auto first = forward<double>(*layer, {as_view(x)}, {.arguments = {&causal, 1}});
  xt::xarray<double> moved = x;
  xt::view(moved, xt::all(), 4) += 1.0;
  const auto second = forward<double>(*layer, {as_view(moved)}, {.arguments = {&causal, 1}});
  const auto earlier = [](const xt::xarray<double>& result) {
    return xt::xarray<double>(xt::view(result, xt::all(), xt::range(0, 4)));
  };
  CHECK(apart(earlier(first), earlier(second)) == 0);
  CHECK(apart(first, second) > 1e-3);

  // A float32 answer of a float64 layer is its float64 answer, rounded.
  const xt::xarray<float> narrow = sequence<float>();
  const xt::xarray<float> rounded = forward(*layer, narrow);
  const xt::xarray<double> wide = forward(*layer, xt::xarray<double>(xt::cast<double>(narrow)));
  CHECK(xt::all(xt::equal(rounded, xt::cast<float>(wide))));
}

TEST_CASE("xtensor: only dense memory of the right kind is looked at") {
  const Array x = wave({3, 4});
  ConstView turned = x.view();
  std::swap(turned.shape[0], turned.shape[1]);
  std::swap(turned.stride[0], turned.stride[1]);
  CHECK_THROWS_AS(as_xtensor<float>(turned), InvalidArgument);
  CHECK_THROWS(as_xtensor<double>(x.view()));
}

}  // namespace attn::testing
