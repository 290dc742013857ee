// SPDX-License-Identifier: Apache-2.0
//
// Discrete Fourier transforms of any length over chosen axes of a tensor, float32 and float64.
//
//   Z[k] = factor * sum over i of x[i] w^(i k), along each axis;   w = exp(-2 pi i / n), conjugate when `inverse`
//
// A complex tensor is two real ones of the same shape, with any strides: real and imaginary parts. Outputs may not
// overlap inputs. Real tensors over several axes cost half of complex ones. Lengths with moderate prime factors take
// one pass a factor (mixed radix), others become a convolution (Bluestein). Results depend on the shape and the level,
// not on the number of threads; what is not finite in one item of the other axes does not reach another item. All
// tables are made in double, in scratch memory of the Parallel. [call-thread]
#pragma once

#include <cstdint>

#include "core/threads/parallel.hpp"

namespace attn::kernels {

template <class T>
struct FftPlane {
  T* data = nullptr;  // none: an input of zeros, an output that is not wanted
  const int64_t* stride = nullptr;
};

template <class T>
struct Fft {
  int rank = 0;
  const int64_t* shape = nullptr;
  uint32_t axes = 0;  // bit mask
  FftPlane<const T> re, im;
  FftPlane<T> out_re, out_im;
  double factor = 1;
  bool inverse = false, accumulate = false;
};

template <class T>
void fft(const Fft<T>& job, Parallel& parallel);

// ---- what the driver gives to the kernels of one instruction set ----------------------------------

// Neighbouring sequences of one tile: whole vectors at every level. Element i of all of them is one stretch; real
// and imaginary parts are planes of their own, so that every butterfly is an operation of whole vectors.
template <class T>
inline constexpr int64_t kFftLanes = sizeof(T) == 4 ? 16 : 8;

// A self-sorting (Stockham) pass of radix p takes n = p m elements that are s stretches long each:
//
//   y[(p q + t) s + j] = w_n^(q t) * sum over r < p of w_p^(r t) x[(q + m r) s + j],   q < m, t < p, j < s
//
// x may hold anything afterwards.
template <class T>
struct FftPass {
  int64_t radix, m, s;
  const T* twiddles;  // (m, p - 1, 2): w_n^(q t) for t = 1..p-1, real and imaginary
  const T* roots;     // (p, 2): w_p^k
};

}  // namespace attn::kernels
