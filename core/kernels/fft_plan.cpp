// SPDX-License-Identifier: Apache-2.0
#include "core/kernels/fft_plan.hpp"

#include <algorithm>
#include <cmath>

#include "core/kernels/reference/fft.hpp"
#include "core/kernels/table.hpp"

namespace attn::kernels {
namespace {

constexpr double kPi = 3.14159265358979323846;

// 8 first, so that a power of two takes few passes, but 16 = 4 * 4; then the smallest odd one. 0: too large.
int64_t next_radix(int64_t rest) {
  if (rest == 16) return 4;
  for (const int64_t p : {8, 4, 2})
    if (rest % p == 0) return p;
  for (int64_t p = 3; p <= kFftMostRadix; p += 2)
    if (rest % p == 0) return p;
  return 0;
}

bool is_smooth(int64_t n) {
  while (n > 1) {
    const int64_t p = next_radix(n);
    if (p == 0) return false;
    n /= p;
  }
  return true;
}

// table[2 k], table[2 k + 1] = real and imaginary part of w_n^k for k = 0..n-1: exact where a cosine or sine is 0 or
// +-1, and equal or opposite where symmetry says so.
void fill_roots(int64_t n, double* table) {
  for (int64_t k = 0; k < n; ++k) {
    double& re = table[2 * k];
    double& im = table[2 * k + 1];
    const auto from = [&](int64_t other) { return table + 2 * other; };
    if (2 * k > n) {  // the lower half of the circle mirrors the upper one
      re = from(n - k)[0], im = -from(n - k)[1];
    } else if (n % 2 == 0 && 4 * k > n) {  // its left half the right one
      re = -from(n / 2 - k)[0], im = from(n / 2 - k)[1];
    } else if (n % 4 == 0 && 8 * k > n) {  // and there, cosine and sine change places
      re = -from(n / 4 - k)[1], im = -from(n / 4 - k)[0];
    } else {
      // The angle is pi u / (4 n), brought below pi / 4.
      int64_t u = 8 * k;
      const bool left = u > 2 * n;
      if (left) u = 4 * n - u;
      const bool steep = u > n;
      if (steep) u = 2 * n - u;
      const double angle = kPi * static_cast<double>(u) / static_cast<double>(4 * n);
      const double cosine = steep ? std::sin(angle) : std::cos(angle);
      const double sine = steep ? std::cos(angle) : std::sin(angle);
      re = left ? -cosine : cosine;
      im = -sine;
    }
  }
}

// One piece of scratch memory, handed out from its front.
class Memory {
 public:
  Memory(Parallel& parallel, int64_t bytes)
      : at_(parallel.scratch_array<unsigned char>(static_cast<size_t>(bytes))) {}
  template <class T>
  T* take(int64_t n) {
    T* p = reinterpret_cast<T*>(at_);
    at_ += (n * static_cast<int64_t>(sizeof(T)) + 63) / 64 * 64;
    return p;
  }

 private:
  unsigned char* at_;
};

// What all tables of a length take, convolution or not: 2 (2 m + 16) twiddles and roots of radices, 2 m spectrum and
// 2 n chirp; in double twice 2 m roots, 4 n roots, 2 (2 m + 16) twiddles and 4 m stretches; and the ends of twelve
// pieces.
template <class T>
int64_t table_bytes(int64_t n) {
  const int64_t m = fft_work_length(n), own = sizeof(T), exact = sizeof(double);
  return own * (6 * m + 2 * n + 32) +
         exact * (8 * m + 4 * n + 32 + 4 * m * kFftLanes<double>)+12 * 64;
}

template <class T>
T* copy_roots(int64_t n, const double* from, int64_t step, T* to) {
  for (int64_t k = 0; k < n; ++k) {
    to[2 * k] = static_cast<T>(from[2 * k * step]);
    to[2 * k + 1] = static_cast<T>(from[2 * k * step + 1]);
  }
  return to + 2 * n;
}

// The passes of a length without large prime factors.
template <class T>
void add_passes(FftPlan<T>& plan, Memory& memory) {
  const int64_t length = plan.length;
  double* roots = memory.take<double>(2 * length);
  fill_roots(length, roots);
  // (p - 1) m twiddles a pass add up to length - 1; the roots of odd radices to at most length, of others to 16.
  T* tables = memory.take<T>(2 * (2 * length + 16));
  int64_t n = length, s = 1;
  while (n > 1) {
    const int64_t p = next_radix(n), m = n / p;
    const FftPass<T>* before = plan.passes ? &plan.pass[plan.passes - 1] : nullptr;
    const T* own = before && before->radix == p ? before->roots : tables;
    if (own == tables) tables = copy_roots(p, roots, length / p, tables);
    plan.pass[plan.passes++] = {p, m, s, tables, own};
    for (int64_t q = 0; q < m; ++q)
      for (int64_t t = 1; t < p; ++t) tables = copy_roots(1, roots + 2 * q * t * s, 1, tables);
    n = m;
    s *= p;
  }
}

template <class T>
void multiply(int64_t n, const T* w, T* xr, T* xi) {
  if constexpr (sizeof(T) == sizeof(float))
    if (use_kernels()) return table().fft_multiply(n, w, xr, xi);
  reference::Fourier<T>::multiply(n, w, xr, xi);
}

template <class T>
int run_passes(const FftPlan<T>& plan, const FftWork<T>& work, int side) {
  void (*pass)(const FftPass<T>&, T*, T*, T*, T*) = &reference::Fourier<T>::pass;
  if constexpr (sizeof(T) == sizeof(float))
    if (use_kernels()) pass = table().fft_pass;
  for (int i = 0; i < plan.passes; ++i, side ^= 1)
    pass(plan.pass[i], work.re[side], work.im[side], work.re[side ^ 1], work.im[side ^ 1]);
  return side;
}

// The chirp, and the spectrum of what the sequences are convolved with.
template <class T>
void add_convolution(FftPlan<T>& plan, Memory& memory) {
  const int64_t n = plan.n, m = plan.length;
  double* roots = memory.take<double>(4 * n);
  fill_roots(2 * n, roots);
  T* chirp = memory.take<T>(2 * n);
  // One sequence, in as many lanes as the loops need; the other lanes are zeros.
  constexpr int64_t kOne = kFftLanes<double>;
  double* planes = memory.take<double>(4 * m * kOne);
  std::fill_n(planes, 4 * m * kOne, 0.0);
  const FftWork<double> work{{planes, planes + 2 * m * kOne},
                             {planes + m * kOne, planes + 3 * m * kOne}};
  for (int64_t j = 0, at = 0; j < n; ++j) {  // at = j j modulo 2 n
    const double re = roots[2 * at], im = roots[2 * at + 1];
    chirp[2 * j] = static_cast<T>(re);
    chirp[2 * j + 1] = static_cast<T>(im);
    for (const int64_t to : {j, j == 0 ? 0 : m - j}) {
      work.re[0][to * kOne] = re;
      work.im[0][to * kOne] = -im;
    }
    at = (at + 2 * j + 1) % (2 * n);
  }
  FftPlan<double> exact;
  exact.n = exact.length = m;
  add_passes(exact, memory);
  const int side = run_passes(exact, work, 0);
  T* spectrum = memory.take<T>(2 * m);
  for (int64_t k = 0; k < m; ++k) {
    spectrum[2 * k] = static_cast<T>(work.re[side][k * kOne] / static_cast<double>(m));
    spectrum[2 * k + 1] = static_cast<T>(work.im[side][k * kOne] / static_cast<double>(m));
  }
  plan.chirp = chirp;
  plan.spectrum = spectrum;
}

}  // namespace

// Smallest 2^a 3^b 5^c that is at least 2 n - 1.
int64_t fft_work_length(int64_t n) {
  const int64_t least = 2 * n - 1;
  int64_t best = 1;
  while (best < least) best *= 2;
  for (int64_t five = 1; five < best; five *= 5)
    for (int64_t three = five; three < best; three *= 3) {
      int64_t m = three;
      while (m < least) m *= 2;
      best = std::min(best, m);
    }
  return best;
}

template <class T>
FftPlan<T> fft_plan(int64_t n, Parallel& parallel) {
  Memory memory(parallel, table_bytes<T>(n));
  FftPlan<T> plan;
  plan.n = n;
  plan.length = is_smooth(n) ? n : fft_work_length(n);
  add_passes(plan, memory);
  if (plan.length != n) add_convolution(plan, memory);
  return plan;
}

template <class T>
int fft_lines(const FftPlan<T>& plan, const FftWork<T>& work) {
  if (!plan.chirp) return run_passes(plan, work, 0);
  const int64_t at = plan.n * kFftLanes<T>, rest = (plan.length - plan.n) * kFftLanes<T>;
  multiply(plan.n, plan.chirp, work.re[0], work.im[0]);
  std::fill_n(work.re[0] + at, rest, T(0));
  std::fill_n(work.im[0] + at, rest, T(0));
  int side = run_passes(plan, work, 0);
  multiply(plan.length, plan.spectrum, work.re[side], work.im[side]);
  // Backwards: the forward transform with real and imaginary parts in each other's place.
  const FftWork<T> swapped{{work.im[0], work.im[1]}, {work.re[0], work.re[1]}};
  side = run_passes(plan, swapped, side);
  multiply(plan.n, plan.chirp, work.re[side], work.im[side]);
  return side;
}

template <class T>
void fft_unpack(int64_t n, const T* zr, const T* zi, T* fr, T* fi, int64_t row, int64_t apart) {
  if constexpr (sizeof(T) == sizeof(float))
    if (use_kernels()) return table().fft_unpack(n, zr, zi, fr, fi, row, apart);
  reference::Fourier<T>::unpack(n, zr, zi, fr, fi, row, apart);
}

template <class T>
void fft_transpose(int64_t rows, int64_t columns, const T* x, int64_t x_row, T* y, int64_t y_row) {
  if constexpr (sizeof(T) == sizeof(float))
    if (use_kernels()) return table().transpose(rows, columns, x, x_row, y, y_row);
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < columns; ++c) y[c * y_row + r] = x[r * x_row + c];
}

#define ATTN_FFT(T)                                                                \
  template FftPlan<T> fft_plan(int64_t, Parallel&);                                \
  template int fft_lines(const FftPlan<T>&, const FftWork<T>&);                    \
  template void fft_unpack(int64_t, const T*, const T*, T*, T*, int64_t, int64_t); \
  template void fft_transpose(int64_t, int64_t, const T*, int64_t, T*, int64_t);
ATTN_FFT(float)
ATTN_FFT(double)
#undef ATTN_FFT

}  // namespace attn::kernels
