// SPDX-License-Identifier: Apache-2.0
#include "core/tensor/dtype.hpp"

#include <array>
#include <bit>

#include "core/error/error.hpp"

namespace attn {
namespace {

struct Row {
  attn_dtype dtype;
  size_t size;
  bool floating;
  std::string_view name, safetensors, npy;
};

constexpr std::array<Row, 9> kRows{{
    {ATTN_F32, 4, true, "float32", "F32", "<f4"},
    {ATTN_F64, 8, true, "float64", "F64", "<f8"},
    {ATTN_F16, 2, true, "float16", "F16", "<f2"},
    {ATTN_BF16, 2, true, "bfloat16", "BF16", ""},
    {ATTN_I32, 4, false, "int32", "I32", "<i4"},
    {ATTN_I64, 8, false, "int64", "I64", "<i8"},
    {ATTN_U32, 4, false, "uint32", "U32", "<u4"},
    {ATTN_U8, 1, false, "uint8", "U8", "|u1"},
    {ATTN_BOOL, 1, false, "bool", "BOOL", "|b1"},
}};

const Row* find(int32_t dtype) noexcept {
  for (const Row& r : kRows) {
    if (r.dtype == dtype) return &r;
  }
  return nullptr;
}

const Row& row(attn_dtype dtype) {
  if (const Row* r = find(dtype)) return *r;
  const std::string code = std::to_string(static_cast<int>(dtype));
  throw InvalidArgument("element kind: " + code +
                            " is no code of an element kind; expected one of " + dtype_all_names() +
                            "; was the view filled in?",
                        {"element kind", {}, {}, code, dtype_all_names(), "fill in the dtype"});
}

// The nearest value with P fraction bits and exponents from 1 - bias to bias, as bits without the
// sign.
template <int P, int Bias>
uint16_t round_magnitude(uint64_t magnitude) noexcept {
  constexpr uint64_t kInfinity = static_cast<uint64_t>(2 * Bias + 1) << P;
  constexpr int kMinExponent = 1 - Bias;
  const uint64_t fraction = magnitude & ((uint64_t{1} << 52) - 1);
  const int field = static_cast<int>(magnitude >> 52);
  if (field == 0x7ff) {
    if (fraction == 0) return static_cast<uint16_t>(kInfinity);
    return static_cast<uint16_t>(kInfinity | (uint64_t{1} << (P - 1)) | (fraction >> (52 - P)));
  }
  const int exponent = field - 1023;
  if (exponent > Bias) return static_cast<uint16_t>(kInfinity);
  const bool subnormal = exponent < kMinExponent;
  const int shift = 52 - P + (subnormal ? kMinExponent - exponent : 0);
  if (field == 0 || shift > 53) return 0;  // below half of the smallest subnormal
  const uint64_t significand = fraction | (uint64_t{1} << 52);
  uint64_t quotient = significand >> shift;
  const uint64_t rest = significand & ((uint64_t{1} << shift) - 1);
  const uint64_t half = uint64_t{1} << (shift - 1);
  if (rest > half || (rest == half && (quotient & 1) != 0)) ++quotient;
  // The leading bit of the significand adds 1 to the exponent field, and so does a carry.
  const uint64_t base = subnormal ? 0 : static_cast<uint64_t>(exponent - kMinExponent) << P;
  return static_cast<uint16_t>(base + quotient);
}

template <int P, int Bias>
uint16_t round_bits(double x) noexcept {
  const uint64_t bits = std::bit_cast<uint64_t>(x);
  const auto sign = static_cast<uint16_t>((bits >> 63) << 15);
  return static_cast<uint16_t>(sign | round_magnitude<P, Bias>(bits & ~(uint64_t{1} << 63)));
}

}  // namespace

bool dtype_is_known(int32_t dtype) noexcept { return find(dtype) != nullptr; }
bool dtype_is_floating(attn_dtype dtype) { return row(dtype).floating; }
size_t dtype_size(attn_dtype dtype) { return row(dtype).size; }
std::string_view dtype_name(attn_dtype dtype) { return row(dtype).name; }
std::string_view dtype_safetensors_name(attn_dtype dtype) { return row(dtype).safetensors; }
std::string_view dtype_npy_descr(attn_dtype dtype) { return row(dtype).npy; }

std::optional<attn_dtype> dtype_from_name(std::string_view name) noexcept {
  for (const Row& r : kRows) {
    if (r.name == name) return r.dtype;
  }
  return std::nullopt;
}

std::optional<attn_dtype> dtype_from_safetensors_name(std::string_view name) noexcept {
  for (const Row& r : kRows) {
    if (r.safetensors == name) return r.dtype;
  }
  return std::nullopt;
}

std::string dtype_all_names() {
  std::string all;
  for (const Row& r : kRows) {
    if (!all.empty()) all += ", ";
    all += r.name;
  }
  return all;
}

namespace {
constexpr std::array<std::string_view, 4> kStorageNames{"float32", "bfloat16", "float16", "int8"};
}

std::string_view storage_name(StorageKind kind) noexcept {
  return kStorageNames[static_cast<size_t>(kind)];
}

std::optional<StorageKind> storage_from_name(std::string_view name) noexcept {
  for (size_t i = 0; i < kStorageNames.size(); ++i)
    if (kStorageNames[i] == name) return static_cast<StorageKind>(i);
  return std::nullopt;
}

std::string storage_all_names() {
  std::string all;
  for (const std::string_view name : kStorageNames) {
    if (!all.empty()) all += ", ";
    all += name;
  }
  return all;
}

uint16_t float16_bits(double x) noexcept { return round_bits<10, 15>(x); }
uint16_t bfloat16_bits(double x) noexcept { return round_bits<7, 127>(x); }

float float16_value(uint16_t bits) noexcept {
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000u) << 16;
  const uint32_t field = (bits >> 10) & 0x1fu;
  const uint32_t fraction = bits & 0x3ffu;
  if (field == 0) {
    const float magnitude = static_cast<float>(fraction) * 0x1p-24f;  // exact
    return sign != 0 ? -magnitude : magnitude;
  }
  if (field == 0x1f) return std::bit_cast<float>(sign | 0x7f800000u | (fraction << 13));
  return std::bit_cast<float>(sign | ((field + 112u) << 23) | (fraction << 13));
}

float bfloat16_value(uint16_t bits) noexcept {
  return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
}

}  // namespace attn
