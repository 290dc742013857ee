// SPDX-License-Identifier: Apache-2.0
#include "core/tensor/compact_rows.hpp"

#include <algorithm>

#include "core/tensor/narrow.hpp"
#include "core/tensor/strided.hpp"

namespace attn {
namespace {

constexpr int64_t kLine = 256;  // elements of a row that are looked at together

// Calls f(offset in v, offset in to) for each row of the last axis.
template <class F>
void for_each_row(const attn_view& v, const attn_view& to, F&& f) {
  if (size_of(v) == 0) return;
  int64_t index[ATTN_MAX_RANK] = {}, from = 0, at = 0;
  for (;;) {
    f(from, at);
    int axis = v.rank - 2;
    for (; axis >= 0; --axis) {
      from += v.stride[axis];
      at += to.stride[axis];
      if (++index[axis] < v.shape[axis]) break;
      from -= v.stride[axis] * v.shape[axis];
      at -= to.stride[axis] * v.shape[axis];
      index[axis] = 0;
    }
    if (axis < 0) return;
  }
}

// Elements [first, first + n) of a line with any stride, side by side.
const float* line_of(const float* x, int64_t step, int64_t first, int64_t n, float* memory) {
  if (step == 1) return x + first;
  for (int64_t i = 0; i < n; ++i) memory[i] = x[(first + i) * step];
  return memory;
}

}  // namespace

void widen(const attn_view& v, const CompactRows& rows, float* dense) {
  attn_view to = v;
  set_dense_strides(to);
  const int64_t n = v.rank == 0 ? 1 : v.shape[v.rank - 1];
  const int64_t step = v.rank == 0 ? 1 : v.stride[v.rank - 1];
  const auto some = [&](int64_t from, int64_t count, float* out) {
    const float* scale = rows.scale_at(from);
    widen(rows.kind, count, rows.at(from), scale == nullptr ? 1 : *scale, out);
  };
  for_each_row(v, to, [&](int64_t from, int64_t at) {
    if (step == 1 && (rows.first + from) % rows.length + n <= rows.length)
      return some(from, n, dense + at);
    for (int64_t i = 0; i < n; ++i) some(from + i * step, 1, dense + at + i);
  });
}

bool narrow(const attn_view& x, const attn_view& to, const CompactRows& rows) {
  const int64_t n = x.shape[x.rank - 1], step = x.stride[x.rank - 1];
  bool fits = true;
  for_each_row(x, to, [&](int64_t from, int64_t at) {
    const float* row = static_cast<const float*>(x.data) + from;
    float memory[kLine];
    Scale s{};
    if (rows.kind == StorageKind::int8) {
      uint32_t largest = 0;
      for (int64_t i = 0; i < n; i += kLine) {
        const int64_t count = std::min(kLine, n - i);
        largest = std::max(largest, largest_magnitude(count, line_of(row, step, i, count, memory)));
      }
      s = scale_of(largest);
      *const_cast<float*>(rows.scale_at(at)) = s.scale;
    }
    for (int64_t i = 0; i < n; i += kLine) {
      const int64_t count = std::min(kLine, n - i);
      const float* line = line_of(row, step, i, count, memory);
      char* out = const_cast<char*>(rows.at(at + i));
      if (rows.kind == StorageKind::int8)
        quantize(count, line, &s.inverse, 0, reinterpret_cast<int8_t*>(out));
      else
        fits = narrow(rows.kind, count, line, reinterpret_cast<uint16_t*>(out)) && fits;
    }
  });
  return fits;
}

}  // namespace attn
