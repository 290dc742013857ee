// SPDX-License-Identifier: Apache-2.0
//
// The plan of one length: z[k] = sum over i < n of w_n^(i k) x[i].
//
// Lengths whose prime factors are at most kFftMostRadix take a pass for each of 8, 4, 2 and the primes. A pass of a
// large prime p costs p operations an element; beyond the bound a convolution is cheaper. Others become a
// convolution of a length M >= 2 n - 1 with factors 2, 3, 5 (Bluestein 1970): with c_j = w_2n^(j j),
// z[k] = c_k sum over j of (x[j] c_j) conj(c_(k-j)). Tables are made in double from exponents that were reduced
// first. A plan lives in scratch memory of the Parallel; fft_lines() does not change it. [call-thread]
#pragma once

#include "core/kernels/fft.hpp"

namespace attn::kernels {

inline constexpr int64_t kFftMostRadix = 256;

template <class T>
struct FftPlan {
  static constexpr int kMostPasses = 64;
  int64_t n = 1;       // elements
  int64_t length = 1;  // of the passes: n, or M
  int passes = 0;
  FftPass<T> pass[kMostPasses] = {};
  const T* chirp = nullptr;     // (n, 2): c_j; nullptr: no convolution
  const T* spectrum = nullptr;  // (M, 2): transform of conj(c), divided by M
};

template <class T>
FftPlan<T> fft_plan(int64_t n, Parallel& parallel);

// Planes of fft_work_length(n) stretches: two complex buffers.
template <class T>
struct FftWork {
  T *re[2], *im[2];
};

// Stretches of work that lengths up to n need at most: what is asked for does not shrink and grow with the factors
// of a length, so that memory for a long sequence has room for every shorter one.
[[nodiscard]] int64_t fft_work_length(int64_t n);

// Transforms kFftLanes sequences, from stretches 0..n-1 of buffer 0 of `work`; returns the buffer that holds the
// result. [any-thread]
template <class T>
int fft_lines(const FftPlan<T>& plan, const FftWork<T>& work);

// z = a + i b of two real sequences, to the first n / 2 + 1 elements of twice the transforms of both: that of a at
// fr, fi, that of b `apart` numbers further; stretches are `row` numbers apart. [any-thread]
template <class T>
void fft_unpack(int64_t n, const T* zr, const T* zi, T* fr, T* fi, int64_t row, int64_t apart);

// y[c * y_row + r] = x[r * x_row + c]. [any-thread]
template <class T>
void fft_transpose(int64_t rows, int64_t columns, const T* x, int64_t x_row, T* y, int64_t y_row);

}  // namespace attn::kernels
