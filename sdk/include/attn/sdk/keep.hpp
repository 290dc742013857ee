// SPDX-License-Identifier: Apache-2.0
//
// Reading masks and conditions: elements of any kind, > 0 means kept; NaN does not. [any-thread]
#pragma once

#include <attn/sdk/operator.hpp>

#include <type_traits>

namespace attn::sdk {

namespace detail {

// f(pointer, kept, negative) for the elements of v: as they are, or floating ones as the whole numbers that their bits
// make, so that the smallest count although the processor may take them for 0.
template <class F>
void with_elements(const attn_view& v, F&& f) {
  // bits in 1..infinity
  const auto floating = [&](auto first, auto infinity) {
    using U = decltype(first);
    constexpr U sign = U(U(1) << (8 * sizeof(U) - 1));
    f(
        data<const U>(v), [=](U b) { return U(b - 1) < infinity; },
        [=](U b) { return b > sign && b <= U(sign | infinity); });
  };
  const auto number = [&](auto zero) {
    using T = decltype(zero);
    f(
        data<const T>(v), [](T x) { return x > 0; },
        [](T x) { return std::is_signed_v<T> && x < 0; });
  };
  switch (v.dtype) {
    case ATTN_F32:
      return floating(uint32_t{0}, uint32_t{0x7f800000});
    case ATTN_F64:
      return floating(uint64_t{0}, uint64_t{0x7ff0000000000000});
    case ATTN_F16:
      return floating(uint16_t{0}, uint16_t{0x7c00});
    case ATTN_BF16:
      return floating(uint16_t{0}, uint16_t{0x7f80});
    case ATTN_I32:
      return number(int32_t{0});
    case ATTN_I64:
      return number(int64_t{0});
    case ATTN_U32:
      return number(uint32_t{0});
    default:
      return number(uint8_t{0});
  }
}

}  // namespace detail

// out[i] = 1 when element `first` + i * step of v (counted from its data) is > 0, else 0.
inline void read_keep(const attn_view& v, int64_t first, int64_t step, int64_t n, uint8_t* out) {
  detail::with_elements(v, [&](const auto* p, auto kept, auto) {
    p += first;
    if (step == 1)
      for (int64_t i = 0; i < n; ++i) out[i] = kept(p[i]) ? 1 : 0;
    else
      for (int64_t i = 0; i < n; ++i) out[i] = kept(p[i * step]) ? 1 : 0;
  });
}

}  // namespace attn::sdk
