// SPDX-License-Identifier: Apache-2.0
//
// What the tests of types have in common: tensors to feed, ways to cut and compare them, and weights
// carried from one layer to another. float32, dense, row-major.
#pragma once

#include <attn/attention.hpp>
#include <attn/factory.hpp>
#include <catch2/catch.hpp>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <vector>

namespace attn::test {

using Layer = std::unique_ptr<Attention>;

// A layer, built for inputs of these shapes from a fixed seed.
inline Layer make(const char* type, const Json& parameters, std::vector<Shape> inputs,
                  uint64_t seed = 7) {
  Layer layer = create_attention_layer(type, parameters);
  std::vector<std::optional<Shape>> shapes(inputs.begin(), inputs.end());
  shapes.resize(layer->type().n_inputs);
  layer->build(shapes, {.seed = seed});
  return layer;
}

// Numbers in [-scale, scale), the same in every run.
inline Array random(const Shape& shape, uint64_t seed, float scale = 1.0F) {
  Array a(ATTN_F32, shape);
  uint64_t state = seed * 0x9E3779B97F4A7C15u + 1;
  for (int64_t i = 0; i < a.size(); ++i) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    a.data<float>()[i] = scale * (static_cast<float>(state >> 40) * 0x1p-23F - 1.0F);
  }
  return a;
}

inline Array filled(const Shape& shape, float value) {
  Array a(ATTN_F32, shape);
  std::fill_n(a.data<float>(), a.size(), value);
  return a;
}

// Largest difference, of numbers above 1 relative to them; infinity for other shapes.
inline double worst(const Array& a, const Array& b) {
  if (a.shape() != b.shape()) return std::numeric_limits<double>::infinity();
  double most = 0;
  for (int64_t i = 0; i < a.size(); ++i) {
    const double x = a.data<float>()[i], y = b.data<float>()[i];
    if (x == y) continue;
    const double d = std::fabs(x - y) / std::max(1.0, std::fabs(y));
    if (!(d <= most)) most = d;
  }
  return most;
}

// Elements begin..end-1 of an axis, copied.
inline Array cut(const Array& a, size_t axis, int64_t begin, int64_t end) {
  Shape shape = a.shape();
  shape[axis] = end - begin;
  ConstView v = a.view();
  v.data = a.data<float>() + begin * v.stride[axis];
  v.shape = shape;
  return Array::copy_of(v);
}

// Element i of the axis becomes the old element order[i].
inline Array reordered(const Array& a, size_t axis, const std::vector<int64_t>& order) {
  Shape shape = a.shape();
  shape[axis] = static_cast<int64_t>(order.size());
  Array out(a.dtype(), shape);
  const int64_t inner = a.shape().dense_strides()[axis];
  const int64_t outer = a.size() / (inner * a.shape()[axis]);
  for (int64_t o = 0; o < outer; ++o)
    for (size_t i = 0; i < order.size(); ++i)
      std::copy_n(a.data<float>() + (o * a.shape()[axis] + order[i]) * inner, inner,
                  out.data<float>() + (o * shape[axis] + static_cast<int64_t>(i)) * inner);
  return out;
}

// Joined along an axis.
inline Array joined(const std::vector<Array>& parts, size_t axis) {
  Shape shape = parts.at(0).shape();
  const int64_t inner = shape.dense_strides()[axis];
  int64_t extent = 0;
  for (const Array& p : parts) extent += p.shape()[axis];
  const int64_t outer = parts[0].size() / (inner * shape[axis]);
  shape[axis] = extent;
  Array out(ATTN_F32, shape);
  for (int64_t o = 0, at = 0; o < outer; ++o)
    for (const Array& p : parts) {
      const int64_t n = p.shape()[axis] * inner;
      std::copy_n(p.data<float>() + o * n, n, out.data<float>() + at);
      at += n;
    }
  return out;
}

// The same elements in another shape.
inline Array reshaped(const Array& a, const Shape& shape) {
  return Array::from(a.to_vector<float>(), shape);
}

inline Array weight(const Attention& layer, const std::string& name) {
  return Array::copy_of(layer.weight(name));
}

// Largest difference in units of eps times the largest magnitude of b; a NaN on either side, or
// another shape, is infinitely far away.
inline double distance(const Array& a, const Array& b) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  if (a.shape() != b.shape()) return kInfinity;
  double difference = 0, magnitude = 0;
  for (int64_t i = 0; i < a.size(); ++i) {
    const double x = a.data<float>()[i], y = b.data<float>()[i];
    if (std::isnan(x) || std::isnan(y)) return kInfinity;
    difference = std::max(difference, std::fabs(x - y));
    magnitude = std::max(magnitude, std::fabs(y));
  }
  if (difference == 0) return 0;
  return difference / (magnitude * static_cast<double>(std::numeric_limits<float>::epsilon()));
}

// Two ways to the same layer output: products of up to some tens of terms, three of them in a row,
// each sum taken in another order. The error of one is below sqrt(terms) eps, so that they stay far
// below 64 eps of the largest output.
inline constexpr double kSameMath = 64;

// The text of the InvalidArgument that f throws; "" when it throws none.
template <class F>
std::string refusal(F&& f) {
  try {
    static_cast<void>(f());
  } catch (const InvalidArgument& e) {
    return e.what();
  }
  return "";
}

inline auto says(const std::string& part) { return Catch::Matchers::Contains(part); }

// The result of a causal call.
inline Array causal(Attention& layer, std::initializer_list<Input> inputs) {
  static const Argument kCausal("use_causal_mask", true);
  return layer.forward(inputs, {.arguments = {&kCausal, 1}});
}

// (1, length, length): position q keeps the keys up to its own.
inline Array causal_mask(int64_t length) {
  Array mask = filled({1, length, length}, 0);
  for (int64_t q = 0; q < length; ++q)
    for (int64_t k = 0; k <= q; ++k) mask.at<float>({0, q, k}) = 1;
  return mask;
}

// The sequence x fed to a state in chunks of these lengths; a mask (batch, key) is cut along.
inline Array in_chunks(Attention& layer, State& state, const Array& x,
                       const std::vector<int64_t>& chunks, const Array* mask = nullptr) {
  std::vector<Array> parts;
  int64_t at = 0;
  for (const int64_t n : chunks) {
    const Array piece = cut(x, 1, at, at + n);
    at += n;
    parts.push_back(mask ? layer.forward({piece, cut(*mask, 1, 0, at)}, {.state = &state})
                         : layer.forward(piece, {.state = &state}));
  }
  return joined(parts, 1);
}

// Calls with a state give what one causal call gives: x, of two rows and 13 positions, in chunks, with and without a
// padding mask; after positions were taken back; after rows were chosen; from the beginning again.
inline void check_decoding(Attention& layer, const Array& x) {
  REQUIRE(x.shape()[0] == 2);
  REQUIRE(x.shape()[1] == 13);
  Array padding = filled({2, 13}, 1);
  for (int64_t k = 0; k < 4; ++k) padding.at<float>({1, k}) = 0;
  const auto state = layer.make_state(2, 13);
  const Array whole = causal(layer, {x}), padded = causal(layer, {x, padding});
  for (const std::vector<int64_t>& chunks : std::vector<std::vector<int64_t>>{
           {13}, {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}, {5, 1, 1, 1, 1, 4}, {2, 11}}) {
    INFO(chunks.size() << " chunks");
    state->reset();
    CHECK(state->length() == 0);
    CHECK(distance(in_chunks(layer, *state, x, chunks), whole) < kSameMath);
    CHECK(state->length() == 13);
    state->reset();
    CHECK(distance(in_chunks(layer, *state, x, chunks, &padding), padded) < kSameMath);
  }
  CHECK_THAT(refusal([&] { return layer.forward(cut(x, 1, 0, 1), {.state = state.get()}); }),
             says("capacity"));
  CHECK(state->length() == 13);

  state->reset();
  in_chunks(layer, *state, x, {9});
  state->truncate(6);
  CHECK(state->length() == 6);
  CHECK(distance(in_chunks(layer, *state, cut(x, 1, 6, 13), {3, 4}), cut(whole, 1, 6, 13)) <
        kSameMath);

  // All rows go on from the second one.
  state->reset();
  in_chunks(layer, *state, x, {9});
  state->reorder({1, 1, 1});
  CHECK(state->batch() == 3);
  const std::vector<int64_t> second{1, 1, 1};
  CHECK(distance(layer.forward(reordered(cut(x, 1, 9, 13), 0, second), {.state = state.get()}),
                 reordered(cut(whole, 1, 9, 13), 0, second)) < kSameMath);
  state->reorder({0, 1});
  state->reset();
  CHECK(distance(in_chunks(layer, *state, x, {13}), whole) < kSameMath);
}

}  // namespace attn::test
