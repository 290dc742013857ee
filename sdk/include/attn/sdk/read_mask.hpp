// SPDX-License-Identifier: Apache-2.0
//
// Keep masks in an operator: elements of any kind become bytes, 1 where an element is > 0, else 0, also for NaN.
//
//   check_mask(*c.in(1), {B, H, Q, K});                            // in shape(): refuses what does not broadcast
//   const uint8_t* keep = read_mask(c, *c.in(1), {B, H, Q, K});    // in forward(): the bytes, dense
//
// A mask of scores (B, H, Q, K) is (K), (B, K), (B, Q, K) or (B, H, Q, K); extents of 1 repeat. Pure functions; those
// that take a call belong to its thread, the others to any.
#pragma once

#include <attn/sdk/strided.hpp>

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
inline void read_mask(const attn_view& v, int64_t first, int64_t step, int64_t n, uint8_t* out) {
  detail::with_elements(v, [&](const auto* p, auto kept, auto) {
    p += first;
    if (step == 1)
      for (int64_t i = 0; i < n; ++i) out[i] = kept(p[i]) ? 1 : 0;
    else
      for (int64_t i = 0; i < n; ++i) out[i] = kept(p[i * step]) ? 1 : 0;
  });
}

// The mask with all four axes: those that it lacks have extent 1, and extents of 1 have stride 0. Its rank is 1 to 4.
inline attn_view mask_axes(const attn_view& mask) {
  static constexpr int kAxes[5][4] = {{}, {3}, {0, 3}, {0, 2, 3}, {0, 1, 2, 3}};
  attn_view v = mask;
  v.rank = 4;
  for (int i = 0; i < 4; ++i) v.shape[i] = 1, v.stride[i] = 0;
  for (int i = 0; i < mask.rank; ++i) {
    const int axis = kAxes[mask.rank][i];
    v.shape[axis] = mask.shape[i];
    v.stride[axis] = mask.shape[i] == 1 ? 0 : mask.stride[i];
  }
  return v;
}

using ScoresShape = std::array<int64_t, 4>;  // (B, H, Q, K)

inline std::string scores_text(const ScoresShape& s) {
  return "(" + std::to_string(s[0]) + ", " + std::to_string(s[1]) + ", " + std::to_string(s[2]) +
         ", " + std::to_string(s[3]) + ")";
}

inline void check_mask(const attn_view& mask, const ScoresShape& scores) {
  bool fits = mask.rank >= 1 && mask.rank <= 4;
  const attn_view v = fits ? mask_axes(mask) : mask;
  for (int i = 0; i < 4 && fits; ++i)
    fits = v.shape[i] == 1 || v.shape[i] == scores[static_cast<size_t>(i)];
  if (fits) return;
  fail("mask of shape {} does not broadcast to (batch, head, query, key) = {}", shape_text(mask),
       scores_text(scores));
}

// The bytes of a mask that check_mask() took, (B, H, Q, K), dense: memory of the operator.
inline uint8_t* read_mask(const OpCall& c, const attn_view& mask, const ScoresShape& shape) {
  attn_view v = mask_axes(mask);
  std::copy(shape.begin(), shape.end(), v.shape);
  auto* bytes = c.scratch_array<uint8_t>(static_cast<size_t>(size_of(v)) + 1);
  const StridedRows<1> rows({&v});
  rows.run(c, [&](const auto& first, int64_t row) {
    read_mask(v, first[0], v.stride[3], shape[3], bytes + row * shape[3]);
  });
  return bytes;
}

}  // namespace attn::sdk
