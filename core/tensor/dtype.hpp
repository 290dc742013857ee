// SPDX-License-Identifier: Apache-2.0
//
// Element kinds: their names here and in files, their sizes, and the two 16-bit floating types.
//
// Names: "float32" ... for people, "F32" ... in safetensors, "<f4" ... in npy (little endian).
// Float16 (IEEE binary16) and BFloat16 are storage: 16 bits that convert from and to float and
// double, rounding once, to nearest, ties to even; overflow gives infinity, NaN stays NaN,
// subnormals are kept. Errors: a code that is no attn_dtype throws InvalidArgument; searching by an
// unknown name gives nullopt. A public header: it names its neighbours relative to itself, so that
// it also works where it is installed. [any-thread]
#pragma once

#include <attn/sdk/abi.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>

namespace attn {

[[nodiscard]] bool dtype_is_known(int32_t dtype) noexcept;
[[nodiscard]] bool dtype_is_floating(attn_dtype dtype);
[[nodiscard]] size_t dtype_size(attn_dtype dtype);  // bytes of one element

[[nodiscard]] std::string_view dtype_name(attn_dtype dtype);              // "float32"
[[nodiscard]] std::string_view dtype_safetensors_name(attn_dtype dtype);  // "F32"
[[nodiscard]] std::string_view dtype_npy_descr(attn_dtype dtype);  // "<f4"; empty: none (bfloat16)
[[nodiscard]] std::optional<attn_dtype> dtype_from_name(std::string_view name) noexcept;
[[nodiscard]] std::optional<attn_dtype> dtype_from_safetensors_name(std::string_view name) noexcept;
// "float32, float64, ...": for messages
[[nodiscard]] std::string dtype_all_names();

// How numbers are kept that are computed with in float32: weights and histories, where the caller asks for fewer bits.
// int8 are whole numbers from -127 to 127 times a float32 scale that a group of them shares.
enum class StorageKind : int32_t { float32 = 0, bfloat16 = 1, float16 = 2, int8 = 3 };

[[nodiscard]] std::string_view storage_name(StorageKind kind) noexcept;  // "bfloat16"
[[nodiscard]] std::optional<StorageKind> storage_from_name(std::string_view name) noexcept;
// "float32, bfloat16, float16, int8": for messages
[[nodiscard]] std::string storage_all_names();

// Bits of the nearest binary16 and bfloat16 value, and back.
[[nodiscard]] uint16_t float16_bits(double x) noexcept;
[[nodiscard]] uint16_t bfloat16_bits(double x) noexcept;
[[nodiscard]] float float16_value(uint16_t bits) noexcept;
[[nodiscard]] float bfloat16_value(uint16_t bits) noexcept;

struct Float16 {
  uint16_t bits = 0;
  Float16() = default;
  explicit Float16(double x) noexcept : bits(float16_bits(x)) {}
  explicit operator float() const noexcept { return float16_value(bits); }
  explicit operator double() const noexcept { return static_cast<double>(float16_value(bits)); }
};

struct BFloat16 {
  uint16_t bits = 0;
  BFloat16() = default;
  explicit BFloat16(double x) noexcept : bits(bfloat16_bits(x)) {}
  explicit operator float() const noexcept { return bfloat16_value(bits); }
  explicit operator double() const noexcept { return static_cast<double>(bfloat16_value(bits)); }
};

static_assert(sizeof(Float16) == 2 && sizeof(BFloat16) == 2 && sizeof(bool) == 1);

// The kind that belongs to a C++ type: DtypeOf<float>::value is ATTN_F32.
template <class T>
struct DtypeOf;
template <>
struct DtypeOf<float> : std::integral_constant<attn_dtype, ATTN_F32> {};
template <>
struct DtypeOf<double> : std::integral_constant<attn_dtype, ATTN_F64> {};
template <>
struct DtypeOf<Float16> : std::integral_constant<attn_dtype, ATTN_F16> {};
template <>
struct DtypeOf<BFloat16> : std::integral_constant<attn_dtype, ATTN_BF16> {};
template <>
struct DtypeOf<int32_t> : std::integral_constant<attn_dtype, ATTN_I32> {};
template <>
struct DtypeOf<int64_t> : std::integral_constant<attn_dtype, ATTN_I64> {};
template <>
struct DtypeOf<uint32_t> : std::integral_constant<attn_dtype, ATTN_U32> {};
template <>
struct DtypeOf<uint8_t> : std::integral_constant<attn_dtype, ATTN_U8> {};
template <>
struct DtypeOf<bool> : std::integral_constant<attn_dtype, ATTN_BOOL> {};

template <class T>
inline constexpr attn_dtype kDtypeOf = DtypeOf<T>::value;

}  // namespace attn
