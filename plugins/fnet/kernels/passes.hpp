// SPDX-License-Identifier: Apache-2.0
//
// The loops of the fast transform, for one kind of number and one instruction set.
//
// A transform runs on `lanes` sequences at once: element i of all of them is one stretch of `lanes` numbers, and
// real and imaginary parts are planes of their own, so that every butterfly is an operation of whole vectors. A
// self-sorting (Stockham) pass of radix p takes n = p * m elements that are `s` stretches long each:
//
//   y[(p q + t) s + j] = w_n^(q t) * sum over r < p of w_p^(r t) x[(q + m r) s + j],   q < m, t < p, j < s
//
// w_n = exp(-2 pi i / n). Input and output may not overlap. Nothing allocates or throws. [any-thread]
#pragma once

#include <cstdint>

namespace attn::fnet {

// Neighbouring sequences of one tile: whole vectors at every level.
template <class T>
inline constexpr int64_t kLanes = sizeof(T) == 4 ? 16 : 8;

template <class T>
struct Pass {
  int64_t radix, m, s;
  const T* twiddles;  // (m, p - 1, 2): w_n^(q t) for t = 1..p-1, real and imaginary
  const T* roots;     // (p, 2): w_p^k
};

template <class T>
struct Loops {
  // One pass; s stretches are s * lanes numbers.
  void (*pass)(const Pass<T>& pass, int64_t lanes, const T* xr, const T* xi, T* yr, T* yi);
  // Stretch i of x times the complex number w[i], in place.
  void (*multiply)(int64_t n, int64_t lanes, const T* w, T* xr, T* xi);
  // Two real transforms out of one: z = a + i b over k <= n / 2, both times two. Row k of the planes fr, fi gets
  // `first` numbers of a at 0 and `second` numbers of b at `apart`.
  void (*unpack)(int64_t n, const T* zr, const T* zi, T* fr, T* fi, int64_t row, int64_t first,
                 int64_t second, int64_t apart);
  // n x kLanes stretches from, and to, kLanes rows of n numbers.
  void (*to_lanes)(int64_t n, const T* rows, int64_t row, T* stretches);
  void (*to_rows)(int64_t n, const T* stretches, T* rows, int64_t row);
};

// For the level that attn_engine::cpu_level() names; scalar code where it has none.
template <class T>
const Loops<T>& loops(const char* level);

}  // namespace attn::fnet
