// SPDX-License-Identifier: Apache-2.0
#include "host/library/convert/rearrange.hpp"

#include <attn/error.hpp>

#include <algorithm>
#include <cstring>
#include <string>

namespace attn::conversion {

namespace {
const std::byte* at(const Array& a, int64_t element) {
  return static_cast<const std::byte*>(a.raw()) +
         static_cast<size_t>(element) * dtype_size(a.dtype());
}
// A wrong argument would read memory that is not the tensor's.
void require(bool suits, const Array& a, const std::string& what) {
  if (!suits) throw InvalidArgument("a tensor " + a.shape().to_string() + " has no " + what);
}
}  // namespace

Array sliced(const Array& a, size_t axis, int64_t begin, int64_t end) {
  require(axis < a.shape().size(), a, "axis " + std::to_string(axis));
  require(0 <= begin && begin <= end && end <= a.shape()[axis], a,
          "elements from " + std::to_string(begin) + " to before " + std::to_string(end) +
              " in axis " + std::to_string(axis));
  ConstView v = a.view();
  v.data = at(a, begin * v.stride[axis]);
  v.shape[axis] = end - begin;
  return Array::copy_of(v);
}

Array reshaped(const Array& a, const Shape& shape) {
  require(shape.elements() == a.size(), a, "form " + shape.to_string());
  return Array::copy_of(ConstView(a.raw(), a.dtype(), shape));
}

Array permuted(const Array& a, const std::vector<int64_t>& order) {
  const ConstView v = a.view();
  std::vector<int64_t> sorted = order;
  std::sort(sorted.begin(), sorted.end());
  bool suits = sorted.size() == v.shape.size();
  for (size_t i = 0; suits && i < sorted.size(); ++i) suits = sorted[i] == static_cast<int64_t>(i);
  require(suits, a, "axes in the order that was given");
  Shape shape, stride;
  for (const int64_t axis : order) {
    shape.push_back(v.shape[static_cast<size_t>(axis)]);
    stride.push_back(v.stride[static_cast<size_t>(axis)]);
  }
  return Array::copy_of(ConstView(a.raw(), a.dtype(), shape, stride));
}

Array concatenated(const std::vector<Array>& parts, size_t axis) {
  if (parts.empty()) throw InvalidArgument("nothing to join");
  Shape shape = parts.front().shape();
  require(axis < shape.size(), parts.front(), "axis " + std::to_string(axis));
  shape[axis] = 0;
  for (const Array& p : parts) {
    Shape others = p.shape();
    if (others.size() == shape.size()) others[axis] = shape[axis];
    require(others == shape && p.dtype() == parts.front().dtype(), p,
            "place beside one " + parts.front().shape().to_string());
    shape[axis] += p.shape()[axis];
  }
  Array out(parts.front().dtype(), shape);
  const int64_t inner = shape.dense_strides()[axis];
  const int64_t row = shape[axis] * inner;
  const int64_t rows = row == 0 ? 0 : out.size() / row;
  const size_t bytes = dtype_size(out.dtype());
  auto* to = static_cast<std::byte*>(out.raw());
  int64_t begin = 0;
  for (const Array& p : parts) {
    const int64_t n = p.shape()[axis] * inner;
    for (int64_t r = 0; r < rows; ++r)
      std::memcpy(to + static_cast<size_t>(r * row + begin) * bytes, at(p, r * n),
                  static_cast<size_t>(n) * bytes);
    begin += n;
  }
  return out;
}

Array interleaved_pairs(const Array& a, int64_t heads, int64_t r) {
  const int64_t width = a.shape().rank() ? a.shape()[a.shape().size() - 1] : 0;
  require(heads > 0 && width % heads == 0 && r >= 0 && r % 2 == 0 && r <= width / heads, a,
          std::to_string(heads) + " heads with " + std::to_string(r) + " components in pairs");
  const int64_t head = width / heads;
  if (r == 0 || a.size() == 0) return a.clone();
  const int64_t all = a.size() / head;
  const Array rows = reshaped(a, {all, head});
  const Array halves = reshaped(sliced(rows, 1, 0, r), {all, 2, r / 2});
  std::vector<Array> parts;
  parts.push_back(reshaped(permuted(halves, {0, 2, 1}), {all, r}));
  if (r < head) parts.push_back(sliced(rows, 1, r, head));
  return reshaped(concatenated(parts, 1), a.shape());
}

Array shifted(const Array& a, double x) {
  Array out = a.astype(ATTN_F64);
  for (int64_t i = 0; i < out.size(); ++i) out.data<double>()[i] += x;
  return out;
}

}  // namespace attn::conversion
