// SPDX-License-Identifier: Apache-2.0
#include "host/cli/rearrange.hpp"

#include <algorithm>
#include <cstring>

namespace attn::cli {

Array sliced(const Array& a, size_t axis, int64_t begin, int64_t end) {
  ConstView v = a.view();
  v.data = a.data<float>() + begin * v.stride[axis];
  v.shape[axis] = end - begin;
  return Array::copy_of(v);
}

Array reshaped(const Array& a, const Shape& shape) {
  return Array::copy_of(ConstView(a.data<float>(), shape));
}

Array permuted(const Array& a, const std::vector<int64_t>& order) {
  const ConstView v = a.view();
  Shape shape, stride;
  for (const int64_t axis : order) {
    shape.push_back(v.shape[static_cast<size_t>(axis)]);
    stride.push_back(v.stride[static_cast<size_t>(axis)]);
  }
  return Array::copy_of(ConstView(a.data<float>(), shape, stride));
}

Array concatenated(const std::vector<Array>& parts, size_t axis) {
  Shape shape = parts.front().shape();
  shape[axis] = 0;
  for (const Array& p : parts) shape[axis] += p.shape()[axis];
  Array out(ATTN_F32, shape);
  const int64_t inner = shape.dense_strides()[axis];
  const int64_t row = shape[axis] * inner;
  const int64_t rows = row == 0 ? 0 : out.size() / row;
  int64_t at = 0;
  for (const Array& p : parts) {
    const int64_t n = p.shape()[axis] * inner;
    for (int64_t r = 0; r < rows; ++r)
      std::copy_n(p.data<float>() + r * n, n, out.data<float>() + r * row + at);
    at += n;
  }
  return out;
}

Array interleaved_pairs(const Array& a, int64_t heads, int64_t r) {
  Array out = a.clone();
  const int64_t width = a.shape()[a.shape().size() - 1];
  const int64_t head = width / heads;
  const int64_t all = head == 0 ? 0 : a.size() / head;
  for (int64_t h = 0; h < all; ++h) {
    const float* from = a.data<float>() + h * head;
    float* to = out.data<float>() + h * head;
    for (int64_t i = 0; i < r / 2; ++i) {
      to[2 * i] = from[i];
      to[2 * i + 1] = from[i + r / 2];
    }
  }
  return out;
}

}  // namespace attn::cli
