// SPDX-License-Identifier: Apache-2.0
//
// Tensors of the border as xtensor expressions, for authors who like them. The one header of the SDK that needs
// xtensor (0.24): whoever includes it provides that library.
//
//   auto x = as_xtensor<const T>(*c.in(0));                  // in an operator: looks at the memory, any strides
//   as_xtensor<T>(*c.out(0)) = x / xt::linalg::norm(x);
//   const Tensor table = as_tensor(c, xt::arange<float>(9)); // in forward(): a constant of the call
//
// Good where clearness counts; expressions are evaluated element by element, so a hot loop is better written on
// the pointers, with the host's kernels or with attn/sdk/simd.hpp. [call-thread]
#pragma once

#include <attn/sdk/layer.hpp>
#include <attn/sdk/operator.hpp>

#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <vector>
#include <xtensor/xadapt.hpp>
#include <xtensor/xarray.hpp>

namespace attn::sdk {

// The border's dtype for T.
template <class T>
inline constexpr int32_t kind_of_number = [] {
  using N = std::remove_const_t<T>;
  static_assert(std::is_arithmetic_v<N>, "numbers alone lie in tensors");
  if constexpr (std::is_same_v<N, float>) return ATTN_F32;
  if constexpr (std::is_same_v<N, double>) return ATTN_F64;
  if constexpr (std::is_same_v<N, bool>) return ATTN_BOOL;
  if constexpr (std::is_integral_v<N> && sizeof(N) == 8 && std::is_signed_v<N>) return ATTN_I64;
  if constexpr (std::is_integral_v<N> && sizeof(N) == 4)
    return std::is_signed_v<N> ? ATTN_I32 : ATTN_U32;
  if constexpr (std::is_same_v<N, uint8_t>) return ATTN_U8;
}();

// The memory of a view, to read and, when T is not const, to write; valid as long as the view's tensor. Throws
// when the view holds another dtype or has no memory (in shape(), and what was not asked for).
template <class T>
[[nodiscard]] auto as_xtensor(const attn_view& v) {
  if (v.dtype != kind_of_number<T>)
    fail("as_xtensor: the tensor holds kind {}, expected {}", static_cast<int>(v.dtype),
         static_cast<int>(kind_of_number<T>));
  if (!v.data) fail("as_xtensor: the tensor {} has no memory yet", shape_text(v));
  std::vector<std::size_t> shape;
  std::vector<std::ptrdiff_t> stride;
  std::size_t span = size_of(v) == 0 ? 0 : 1;
  for (int i = 0; i < v.rank; ++i) {
    shape.push_back(static_cast<std::size_t>(v.shape[i]));
    // xtensor takes an axis of one element for one to repeat.
    stride.push_back(v.shape[i] == 1 ? 0 : static_cast<std::ptrdiff_t>(v.stride[i]));
    if (span > 0) span += static_cast<std::size_t>((v.shape[i] - 1) * v.stride[i]);
  }
  return xt::adapt(static_cast<T*>(v.data), span, xt::no_ownership(), shape, stride);
}

// The value of an expression as a constant of the call, without gradient.
template <class E>
[[nodiscard]] Tensor as_tensor(Call& c, const xt::xexpression<E>& expression) {
  using T = std::remove_const_t<typename E::value_type>;
  const xt::xarray<T, xt::layout_type::row_major> x = expression.derived_cast();
  const std::vector<int64_t> shape(x.shape().begin(), x.shape().end());
  return c.constant(kind_of_number<T>, shape, x.data());
}

}  // namespace attn::sdk
