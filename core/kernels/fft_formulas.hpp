// SPDX-License-Identifier: Apache-2.0
//
// The loops of the transform, written once; fft.hpp says what they compute. M supplies the numbers: M::T is float or
// double, M::V a vector of M::width of them or T itself, with M::load and M::store. Everything is a member of a
// template on M, so that code for wide registers stays apart. [any-thread]
#pragma once

#include "core/kernels/fft.hpp"

namespace attn::kernels::formulas {

template <class M>
struct Fourier {
  using T = typename M::T;
  using V = typename M::V;
  static constexpr int64_t L = kFftLanes<T>;

  struct Complex {
    V r, i;
    [[gnu::always_inline]] Complex operator+(const Complex& b) const { return {r + b.r, i + b.i}; }
    [[gnu::always_inline]] Complex operator-(const Complex& b) const { return {r - b.r, i - b.i}; }
  };

  // The transform of P numbers, in place.
  [[gnu::always_inline]] static void butterfly4(Complex& a0, Complex& a1, Complex& a2,
                                                Complex& a3) {
    const Complex t0 = a0 + a2, t1 = a0 - a2, t2 = a1 + a3, t3 = a1 - a3;
    a0 = t0 + t2;
    a1 = {t1.r + t3.i, t1.i - t3.r};
    a2 = t0 - t2;
    a3 = {t1.r - t3.i, t1.i + t3.r};
  }
  template <int P>
  [[gnu::always_inline]] static void butterfly(Complex* a, const T* roots) {
    if constexpr (P == 2) {
      const Complex b = a[0] - a[1];
      a[0] = a[0] + a[1];
      a[1] = b;
    } else if constexpr (P == 4) {
      butterfly4(a[0], a[1], a[2], a[3]);
    } else if constexpr (P == 8) {
      butterfly4(a[0], a[2], a[4], a[6]);
      butterfly4(a[1], a[3], a[5], a[7]);
      const V half(static_cast<T>(0.70710678118654752440));
      const Complex o1 = {(a[3].r + a[3].i) * half, (a[3].i - a[3].r) * half}, o2 = a[5];
      const Complex o3 = {(a[7].i - a[7].r) * half, (a[7].i + a[7].r) * half};
      const Complex e0 = a[0], e1 = a[2], e2 = a[4], e3 = a[6], o0 = a[1];
      a[0] = e0 + o0, a[4] = e0 - o0;
      a[1] = e1 + o1, a[5] = e1 - o1;
      a[2] = {e2.r + o2.i, e2.i - o2.r}, a[6] = {e2.r - o2.i, e2.i + o2.r};
      a[3] = {e3.r + o3.r, e3.i - o3.i}, a[7] = {e3.r - o3.r, e3.i + o3.i};
    } else {
      // Odd: elements j and P - j meet conjugate roots.
      constexpr int H = (P - 1) / 2;
      Complex sum[H], difference[H];
      const Complex first = a[0];
      for (int j = 0; j < H; ++j) {
        sum[j] = a[j + 1] + a[P - 1 - j];
        difference[j] = a[j + 1] - a[P - 1 - j];
        a[0] = a[0] + sum[j];
      }
#pragma GCC unroll 6
      for (int k = 1; k <= H; ++k) {
        Complex even = first, odd = {V(T(0)), V(T(0))};
#pragma GCC unroll 6
        for (int j = 1; j <= H; ++j) {
          const int at = j * k % P;
          const V cosine(roots[2 * at]), sine(roots[2 * at + 1]);
          even.r = even.r + sum[j - 1].r * cosine;
          even.i = even.i + sum[j - 1].i * cosine;
          odd.r = odd.r + difference[j - 1].r * sine;
          odd.i = odd.i + difference[j - 1].i * sine;
        }
        a[k] = {even.r - odd.i, even.i + odd.r};
        a[P - k] = {even.r + odd.i, even.i - odd.r};
      }
    }
  }

  template <int P, bool kTwiddled>
  [[gnu::always_inline]] static void line(const FftPass<T>& pass, int64_t q, const T* __restrict xr,
                                          const T* __restrict xi, T* __restrict yr,
                                          T* __restrict yi) {
    const int64_t step = pass.s * L, from = q * step, to = P * q * step, apart = pass.m * step;
    const T* w = pass.twiddles + q * 2 * (P - 1);
    for (int64_t e = 0; e < step; e += M::width) {
      Complex a[P];
#pragma GCC unroll 16
      for (int r = 0; r < P; ++r)
        a[r] = {M::load(xr + from + r * apart + e), M::load(xi + from + r * apart + e)};
      butterfly<P>(a, pass.roots);
#pragma GCC unroll 16
      for (int t = 0; t < P; ++t) {
        Complex b = a[t];
        if constexpr (kTwiddled) {
          if (t > 0) {
            const V c(w[2 * t - 2]), s(w[2 * t - 1]);
            b = {a[t].r * c - a[t].i * s, a[t].r * s + a[t].i * c};
          }
        }
        M::store(yr + to + t * step + e, b.r);
        M::store(yi + to + t * step + e, b.i);
      }
    }
  }
  template <int P>
  static void pass_of(const FftPass<T>& pass, const T* xr, const T* xi, T* yr, T* yi) {
    line<P, false>(pass, 0, xr, xi, yr, yi);
    for (int64_t q = 1; q < pass.m; ++q) line<P, true>(pass, q, xr, xi, yr, yi);
  }

  // The sums that belong to the elements k.. and p - k.., N of each; `x` as any_radix() leaves it.
  template <int N>
  [[gnu::always_inline]] static void elements(const FftPass<T>& pass, int64_t k, const T* w,
                                              const T* xr, const T* xi, T* yr, T* yi) {
    const int64_t p = pass.radix, step = pass.s * L, apart = pass.m * step;
    Complex even[N], odd[N];
    int64_t at[N] = {};  // j k modulo p
    for (int i = 0; i < N; ++i) {
      even[i] = {M::load(xr), M::load(xi)};
      odd[i] = {V(T(0)), V(T(0))};
    }
    for (int64_t j = 1; j <= p / 2; ++j) {
      const Complex sum = {M::load(xr + j * apart), M::load(xi + j * apart)};
      const Complex difference = {M::load(xr + (p - j) * apart), M::load(xi + (p - j) * apart)};
#pragma GCC unroll 4
      for (int i = 0; i < N; ++i) {
        at[i] += k + i;
        if (at[i] >= p) at[i] -= p;
        const V cosine(pass.roots[2 * at[i]]), sine(pass.roots[2 * at[i] + 1]);
        even[i].r = even[i].r + sum.r * cosine;
        even[i].i = even[i].i + sum.i * cosine;
        odd[i].r = odd[i].r + difference.r * sine;
        odd[i].i = odd[i].i + difference.i * sine;
      }
    }
    const auto put = [&](int64_t t, const Complex& a) __attribute__((always_inline)) {
      const V c(w[2 * t - 2]), s(w[2 * t - 1]);
      M::store(yr + t * step, a.r * c - a.i * s);
      M::store(yi + t * step, a.r * s + a.i * c);
    };
    for (int i = 0; i < N; ++i) {
      put(k + i, {even[i].r - odd[i].i, even[i].i + odd[i].r});
      put(p - k - i, {even[i].r + odd[i].i, even[i].i - odd[i].r});
    }
  }
  // Larger odd radices, from the definition. Sums and differences of elements that meet conjugate roots take the
  // place of x.
  static void any_radix(const FftPass<T>& pass, T* xr, T* xi, T* yr, T* yi) {
    constexpr int N = M::width == 16 ? 4 : 2;
    const int64_t p = pass.radix, step = pass.s * L, apart = pass.m * step;
    for (int64_t q = 0; q < pass.m; ++q)
      for (int64_t e = 0; e < step; e += M::width) {
        T *ar = xr + q * step + e, *ai = xi + q * step + e;
        T *br = yr + p * q * step + e, *bi = yi + p * q * step + e;
        Complex all = {M::load(ar), M::load(ai)};
        for (int64_t j = 1; j <= p / 2; ++j) {
          T *lr = ar + j * apart, *li = ai + j * apart;
          T *hr = ar + (p - j) * apart, *hi = ai + (p - j) * apart;
          const Complex low = {M::load(lr), M::load(li)}, high = {M::load(hr), M::load(hi)};
          const Complex sum = low + high, difference = low - high;
          M::store(lr, sum.r), M::store(li, sum.i);
          M::store(hr, difference.r), M::store(hi, difference.i);
          all = all + sum;
        }
        M::store(br, all.r), M::store(bi, all.i);
        const T* w = pass.twiddles + q * 2 * (p - 1);
        int64_t k = 1;
        for (; k + N <= p / 2 + 1; k += N) elements<N>(pass, k, w, ar, ai, br, bi);
        for (; k <= p / 2; ++k) elements<1>(pass, k, w, ar, ai, br, bi);
      }
  }

  static void pass(const FftPass<T>& p, T* xr, T* xi, T* yr, T* yi) {
    switch (p.radix) {
      case 2:
        return pass_of<2>(p, xr, xi, yr, yi);
      case 3:
        return pass_of<3>(p, xr, xi, yr, yi);
      case 4:
        return pass_of<4>(p, xr, xi, yr, yi);
      case 5:
        return pass_of<5>(p, xr, xi, yr, yi);
      case 7:
        return pass_of<7>(p, xr, xi, yr, yi);
      case 8:
        return pass_of<8>(p, xr, xi, yr, yi);
      case 11:
        return pass_of<11>(p, xr, xi, yr, yi);
      case 13:
        return pass_of<13>(p, xr, xi, yr, yi);
      default:
        return any_radix(p, xr, xi, yr, yi);
    }
  }

  // Stretch i of x times the complex number w[i], in place.
  static void multiply(int64_t n, const T* w, T* xr, T* xi) {
    for (int64_t i = 0; i < n; ++i) {
      const V c(w[2 * i]), s(w[2 * i + 1]);
      for (int64_t e = i * L; e < (i + 1) * L; e += M::width) {
        const V a = M::load(xr + e), b = M::load(xi + e);
        M::store(xr + e, a * c - b * s);
        M::store(xi + e, a * s + b * c);
      }
    }
  }

  static void unpack(int64_t n, const T* zr, const T* zi, T* fr, T* fi, int64_t row,
                     int64_t apart) {
    for (int64_t k = 0; k <= n / 2; ++k) {
      const int64_t there = k == 0 ? 0 : n - k;
      for (int64_t e = 0; e < L; e += M::width) {
        const Complex a = {M::load(zr + k * L + e), M::load(zi + k * L + e)};
        const Complex b = {M::load(zr + there * L + e), M::load(zi + there * L + e)};
        M::store(fr + k * row + e, a.r + b.r);
        M::store(fi + k * row + e, a.i - b.i);
        M::store(fr + k * row + apart + e, a.i + b.i);
        M::store(fi + k * row + apart + e, b.r - a.r);
      }
    }
  }
};

}  // namespace attn::kernels::formulas
