// SPDX-License-Identifier: Apache-2.0
#include "core/tensor/convert.hpp"

#include <cmath>
#include <cstring>
#include <limits>
#include <type_traits>

#include "core/error/error.hpp"

namespace attn {
namespace {

template <class T>
constexpr bool kIsHalf = std::is_same_v<T, Float16> || std::is_same_v<T, BFloat16>;
template <class T>
constexpr bool kIsFloating = std::is_floating_point_v<T> || kIsHalf<T>;

// bool is read as a byte: a byte that is neither 0 nor 1 must not be touched as a bool.
template <class T>
using Stored = std::conditional_t<std::is_same_v<T, bool>, uint8_t, T>;

// False when the value does not fit.
template <class From, class To>
bool convert_one(Stored<From> x, Stored<To>& y) {
  if constexpr (std::is_same_v<From, bool>) {
    if (x > 1) return false;
  }
  if constexpr (std::is_same_v<From, To>) {
    y = x;
    return true;
  } else if constexpr (kIsFloating<To>) {
    if constexpr (std::is_integral_v<From> && !kIsHalf<To>) {
      y = static_cast<To>(x);  // once rounded; the largest uint64 is far from infinity
      return true;
    } else {
      const auto wide = static_cast<double>(x);
      y = static_cast<To>(wide);
      return std::isfinite(static_cast<double>(y)) || !std::isfinite(wide);
    }
  } else if constexpr (std::is_same_v<To, bool>) {
    const auto wide = static_cast<double>(x);
    y = wide != 0.0 ? 1 : 0;
    return wide == 0.0 || wide == 1.0;
  } else if constexpr (kIsFloating<From>) {
    const auto wide = static_cast<double>(x);
    // Bounds as powers of two, which are exact: [low, high).
    const double low = std::is_signed_v<To> ? -std::ldexp(1.0, 8 * sizeof(To) - 1) : 0.0;
    const double high = std::ldexp(1.0, 8 * sizeof(To) - (std::is_signed_v<To> ? 1 : 0));
    if (!(wide >= low && wide < high) || wide != std::trunc(wide)) return false;
    y = static_cast<To>(wide);
    return true;
  } else {
    const auto wide = static_cast<int64_t>(x);
    if (wide < static_cast<int64_t>(std::numeric_limits<To>::min()) ||
        wide > static_cast<int64_t>(std::numeric_limits<To>::max())) {
      return false;
    }
    y = static_cast<To>(wide);
    return true;
  }
}

// The first element of the row that does not fit, or n.
template <class From, class To>
int64_t convert_row(const void* from, int64_t from_step, void* to, int64_t to_step, int64_t n) {
  const auto* x = static_cast<const Stored<From>*>(from);
  auto* y = static_cast<Stored<To>*>(to);
  for (int64_t i = 0; i < n; ++i) {
    if (!convert_one<From, To>(x[i * from_step], y[i * to_step])) return i;
  }
  return n;
}

using RowFunction = int64_t (*)(const void*, int64_t, void*, int64_t, int64_t);

template <class From>
RowFunction row_function_from(attn_dtype to) {
  switch (to) {
    case ATTN_F32:
      return convert_row<From, float>;
    case ATTN_F64:
      return convert_row<From, double>;
    case ATTN_F16:
      return convert_row<From, Float16>;
    case ATTN_BF16:
      return convert_row<From, BFloat16>;
    case ATTN_I32:
      return convert_row<From, int32_t>;
    case ATTN_I64:
      return convert_row<From, int64_t>;
    case ATTN_U32:
      return convert_row<From, uint32_t>;
    case ATTN_U8:
      return convert_row<From, uint8_t>;
    case ATTN_BOOL:
      return convert_row<From, bool>;
  }
  return nullptr;
}

RowFunction row_function(attn_dtype from, attn_dtype to) {
  switch (from) {
    case ATTN_F32:
      return row_function_from<float>(to);
    case ATTN_F64:
      return row_function_from<double>(to);
    case ATTN_F16:
      return row_function_from<Float16>(to);
    case ATTN_BF16:
      return row_function_from<BFloat16>(to);
    case ATTN_I32:
      return row_function_from<int32_t>(to);
    case ATTN_I64:
      return row_function_from<int64_t>(to);
    case ATTN_U32:
      return row_function_from<uint32_t>(to);
    case ATTN_U8:
      return row_function_from<uint8_t>(to);
    case ATTN_BOOL:
      return row_function_from<bool>(to);
  }
  return nullptr;
}

[[noreturn]] void refuse_element(const ConstView& from, const View& to, const Shape& index,
                                 const std::string& where) {
  const std::string source(dtype_name(from.dtype));
  const std::string target(dtype_name(to.dtype));
  const bool sound = from.dtype != ATTN_BOOL;
  const std::string expected =
      sound ? "values that " + target + " can hold" : "bool elements stored as 0 or 1";
  const std::string hint =
      sound ? "convert to a wider kind, or correct the value" : "write the file or tensor again";
  throw InvalidArgument(where + ": the " + source + " element at " + index.to_string() +
                            " cannot be " + (sound ? "converted to " : "read as ") + target +
                            "; expected " + expected + "; " + hint,
                        {where, {}, {}, index.to_string(), expected, hint});
}

}  // namespace

bool bools_are_sound(const void* data, size_t n) noexcept {
  const auto* p = static_cast<const unsigned char*>(data);
  unsigned char any = 0;
  for (size_t i = 0; i < n; ++i) any = static_cast<unsigned char>(any | p[i]);
  return any <= 1;
}

void convert(const ConstView& from, const View& to, const std::string& where) {
  from.check(where);
  to.check(where);
  if (from.shape != to.shape) {
    const std::string found = from.shape.to_string();
    const std::string wanted = to.shape.to_string();
    throw InvalidArgument(where + ": the shape is " + found + "; expected " + wanted +
                              "; give a tensor of that shape",
                          {where, {}, {}, found, wanted, "give a tensor of that shape"});
  }
  if (from.size() == 0) return;
  if (from.dtype == to.dtype && from.dtype != ATTN_BOOL && from.is_dense() && to.is_dense()) {
    std::memcpy(to.data, from.data, static_cast<size_t>(from.size()) * dtype_size(from.dtype));
    return;
  }
  const RowFunction row = row_function(from.dtype, to.dtype);
  const auto from_size = static_cast<int64_t>(dtype_size(from.dtype));
  const auto to_size = static_cast<int64_t>(dtype_size(to.dtype));
  const size_t rank = from.shape.size();
  const int64_t n = rank == 0 ? 1 : from.shape[rank - 1];
  const int64_t from_step = rank == 0 ? 1 : from.stride[rank - 1];
  const int64_t to_step = rank == 0 ? 1 : to.stride[rank - 1];
  Shape index = Shape(std::vector<int64_t>(rank, 0));
  for (;;) {
    int64_t from_offset = 0;
    int64_t to_offset = 0;
    for (size_t i = 0; i + 1 < rank; ++i) {
      from_offset += index[i] * from.stride[i];
      to_offset += index[i] * to.stride[i];
    }
    const int64_t done =
        row(static_cast<const char*>(from.data) + from_offset * from_size, from_step,
            static_cast<char*>(to.data) + to_offset * to_size, to_step, n);
    if (done < n) {
      if (rank > 0) index[rank - 1] = done;
      refuse_element(from, to, index, where);
    }
    // The next row: the last but one index runs fastest.
    size_t axis = rank < 2 ? 0 : rank - 1;
    while (axis > 0 && ++index[axis - 1] == from.shape[axis - 1]) {
      index[axis - 1] = 0;
      --axis;
    }
    if (axis == 0) return;
  }
}

}  // namespace attn
