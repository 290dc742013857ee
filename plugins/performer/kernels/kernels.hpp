// SPDX-License-Identifier: Apache-2.0
//
// What the performer needs of an instruction set, for float32. Matrices lie
// feature by feature: row f holds feature f of a tile of tokens, `ld` numbers
// apart. Column counts are multiples of kLanes, so that no row has a tail.
// Buffers do not overlap unless they are the same argument.
//
// Exponentials are taken to base 2 and in two parts, 2^x = 2^(x - n) 2^n with n
// = x rounded to a whole number. A shift is a whole number that is added to n:
// it changes the exponent of the result and never its other bits, until the
// result leaves the range of float (then it is 0). Shifts are added one after
// the other, as column_peaks adds them: from 2^24 on sums are rounded, and so
// to the same numbers. Pure functions of their arguments. [any-thread]
#pragma once

#include <cstdint>
#include <limits>

namespace attn::performer {

inline constexpr int64_t kLanes = 16;

// Minus this is the exponent of what counts for nothing; other exponents are
// above.
template <class T>
inline constexpr T kNever = std::numeric_limits<T>::max() * T(0.875);

template <class T>
struct Functions {
  // c (m, n) = a (m, k) b (k, n), added to c when `add`. a: any strides.
  void (*product)(int64_t m, int64_t n, int64_t k, const T* a, int64_t a_row, int64_t a_col,
                  const T* b, int64_t b_row, T* c, int64_t c_row, bool add);
  // peak[f] = the largest number of row f, rounded to whole; NaN is passed
  // over.
  void (*row_peaks)(int64_t m, int64_t n, const T* x, int64_t ld, T* peak);
  // peak[j] = the largest of (x rounded to whole) + shift[f] in column j.
  void (*column_peaks)(int64_t m, int64_t n, const T* x, int64_t ld, const T* shift, T* peak);
  // x = 2^((x + row[f]) + column[j]); column nullptr: zeros.
  void (*powers)(int64_t m, int64_t n, T* x, int64_t ld, const T* row, const T* column);
  // x *= factor[j]; x *= y.
  void (*scale_columns)(int64_t m, int64_t n, T* x, int64_t ld, const T* factor);
  void (*multiply)(int64_t m, int64_t n, T* x, int64_t ld, const T* y, int64_t y_ld);
};

namespace sse2 {
extern const Functions<float> kFunctions;
}
namespace avx2 {
extern const Functions<float> kFunctions;
}
namespace avx512 {
extern const Functions<float> kFunctions;
}

}  // namespace attn::performer
