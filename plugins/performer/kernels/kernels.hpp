// SPDX-License-Identifier: Apache-2.0
//
// The inner loops of performer, compiled once for each instruction set. Matrices lie feature by
// feature: row f holds feature f of a tile of tokens, and rows are `ld` numbers apart. Column counts
// are multiples of kLanes, so that no row has a tail. Buffers do not overlap unless they are the
// same argument. Pure functions of their arguments. [any-thread]
//
// Exponentials are to base 2 and in two parts, 2^x = 2^(x - n) 2^n with n = x rounded. A shift is a
// whole number that is added to n: it changes the exponent of the result and no other bit, until the
// result leaves the range of T (then it is 0). Shifts are added one after the other, as column_peaks
// adds them: sums above 2^24 are rounded, and so to the same numbers.
#pragma once

#include <stdint.h>

namespace attn::performer {

inline constexpr int64_t kLanes = 16;

template <class T>
inline constexpr T kLowest = -__FLT_MAX__;
template <>
inline constexpr double kLowest<double> = -__DBL_MAX__;
// The exponent of padding; those of tokens are above.
template <class T>
inline constexpr T kNever = kLowest<T>* T(0.875);

template <class T>
struct Functions {
  // peak[f] = the largest number of row f, rounded, at least kNever; NaN is left out.
  void (*row_peaks)(int64_t m, int64_t n, const T* x, int64_t ld, T* peak);
  // peak[j] = the largest of (x rounded) + shift[f] in column j.
  void (*column_peaks)(int64_t m, int64_t n, const T* x, int64_t ld, const T* shift, T* peak);
  // x = 2^((x + row[f]) + column[j]); column nullptr: zeros.
  void (*powers)(int64_t m, int64_t n, T* x, int64_t ld, const T* row, const T* column);
  // x *= y; y_ld 0: every row by the same numbers.
  void (*multiply)(int64_t m, int64_t n, T* x, int64_t ld, const T* y, int64_t y_ld);
};
struct Kernels : Functions<float>, Functions<double> {};

// Of the level that attn_engine::cpu_level() names.
const Kernels& kernels(const char* level);

}  // namespace attn::performer
