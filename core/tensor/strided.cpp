// SPDX-License-Identifier: Apache-2.0
#include "core/tensor/strided.hpp"

#include <cstring>

#include "core/tensor/dtype.hpp"

namespace attn {

namespace {

// Calls row(from, to, n, from_step, to_step) for each innermost row, with offsets in elements.
template <class Row>
void for_each_row(const attn_view& from, const attn_view& to, Row&& row) {
  if (size_of(from) == 0) return;
  if (from.rank == 0) {
    row(int64_t{0}, int64_t{0}, int64_t{1}, int64_t{1}, int64_t{1});
    return;
  }
  const int last = from.rank - 1;
  int64_t index[ATTN_MAX_RANK] = {};
  int64_t at_from = 0, at_to = 0;
  for (;;) {
    row(at_from, at_to, from.shape[last], from.stride[last], to.stride[last]);
    int axis = last - 1;
    for (; axis >= 0; --axis) {
      at_from += from.stride[axis];
      at_to += to.stride[axis];
      if (++index[axis] < from.shape[axis]) break;
      at_from -= from.stride[axis] * from.shape[axis];
      at_to -= to.stride[axis] * from.shape[axis];
      index[axis] = 0;
    }
    if (axis < 0) return;
  }
}

template <class From, class To>
void convert(const attn_view& from, const attn_view& to) {
  const From* a = static_cast<const From*>(from.data);
  To* b = static_cast<To*>(to.data);
  for_each_row(from, to, [&](int64_t i, int64_t j, int64_t n, int64_t si, int64_t sj) {
    if constexpr (std::is_same_v<From, To>) {
      if (si == 1 && sj == 1) {
        std::memcpy(b + j, a + i, static_cast<size_t>(n) * sizeof(To));
        return;
      }
    }
    for (int64_t k = 0; k < n; ++k) {
      if constexpr (std::is_same_v<From, To>)
        b[j + k * sj] = a[i + k * si];
      else
        b[j + k * sj] = static_cast<To>(static_cast<double>(a[i + k * si]));
    }
  });
}

template <class To>
void convert_to(const attn_view& from, const attn_view& to) {
  switch (from.dtype) {
    case ATTN_F32:
      return convert<float, To>(from, to);
    case ATTN_F64:
      return convert<double, To>(from, to);
    case ATTN_F16:
      return convert<Float16, To>(from, to);
    case ATTN_BF16:
      return convert<BFloat16, To>(from, to);
    default:
      return;
  }
}

template <class T>
void add(const attn_view& from, const attn_view& to) {
  const T* a = static_cast<const T*>(from.data);
  T* b = static_cast<T*>(to.data);
  for_each_row(from, to, [&](int64_t i, int64_t j, int64_t n, int64_t si, int64_t sj) {
    for (int64_t k = 0; k < n; ++k) b[j + k * sj] += a[i + k * si];
  });
}

}  // namespace

void copy_strided(const attn_view& from, const attn_view& to) {
  if (from.dtype != to.dtype) {
    switch (to.dtype) {
      case ATTN_F64:
        return convert_to<double>(from, to);
      case ATTN_F16:
        return convert_to<Float16>(from, to);
      case ATTN_BF16:
        return convert_to<BFloat16>(from, to);
      default:
        return convert_to<float>(from, to);
    }
  }
  switch (dtype_size(static_cast<attn_dtype>(from.dtype))) {
    case 1:
      return convert<uint8_t, uint8_t>(from, to);
    case 2:
      return convert<uint16_t, uint16_t>(from, to);
    case 4:
      return convert<uint32_t, uint32_t>(from, to);
    default:
      return convert<uint64_t, uint64_t>(from, to);
  }
}

void add_strided(const attn_view& from, const attn_view& to) {
  if (to.dtype == ATTN_F64)
    add<double>(from, to);
  else
    add<float>(from, to);
}

int64_t span_of(const attn_view& v) {
  int64_t last = 0;
  for (int i = 0; i < v.rank; ++i) {
    if (v.shape[i] == 0) return 0;
    last += (v.shape[i] - 1) * v.stride[i];
  }
  return last + 1;
}

}  // namespace attn
