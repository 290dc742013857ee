// SPDX-License-Identifier: Apache-2.0
//
// The loops of the transform, written once; fft.hpp says what they compute. M supplies the numbers: M::T is float or
// double, M::V a vector of M::width of them or T itself, with M::load and M::store. Everything is a member of a
// template on M, so that code for wide registers stays apart. [any-thread]
#pragma once

#include <utility>

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
    // Times w[0] + i w[1].
    [[gnu::always_inline]] Complex times(const T* w) const {
      const V c(w[0]), s(w[1]);
      return {r * c - i * s, r * s + i * c};
    }
  };
  [[gnu::always_inline]] static Complex load(const T* r, const T* i) {
    return {M::load(r), M::load(i)};
  }
  [[gnu::always_inline]] static void store(T* r, T* i, const Complex& x) {
    M::store(r, x.r), M::store(i, x.i);
  }

  // Results k and P - k of an odd length P: elements j and P - j meet conjugate roots. Starts with element 0.
  struct Mirrored {
    Complex even, odd = {V(T(0)), V(T(0))};
    // Sum and difference of elements j and P - j; root j k.
    [[gnu::always_inline]] void add(const Complex& sum, const Complex& difference, const T* root) {
      const V cosine(root[0]), sine(root[1]);
      even.r = even.r + sum.r * cosine;
      even.i = even.i + sum.i * cosine;
      odd.r = odd.r + difference.r * sine;
      odd.i = odd.i + difference.i * sine;
    }
    [[gnu::always_inline]] Complex low() const { return {even.r - odd.i, even.i + odd.r}; }
    [[gnu::always_inline]] Complex high() const { return {even.r + odd.i, even.i - odd.r}; }
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
        Mirrored x{first};
#pragma GCC unroll 6
        for (int j = 1; j <= H; ++j) x.add(sum[j - 1], difference[j - 1], roots + 2 * (j * k % P));
        a[k] = x.low();
        a[P - k] = x.high();
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
      for (int r = 0; r < P; ++r) a[r] = load(xr + from + r * apart + e, xi + from + r * apart + e);
      butterfly<P>(a, pass.roots);
#pragma GCC unroll 16
      for (int t = 0; t < P; ++t) {
        if (kTwiddled && t > 0) a[t] = a[t].times(w + 2 * (t - 1));
        store(yr + to + t * step + e, yi + to + t * step + e, a[t]);
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
    Mirrored x[N];
    int64_t at[N] = {};  // j k modulo p
    for (int i = 0; i < N; ++i) x[i].even = load(xr, xi);
    for (int64_t j = 1; j <= p / 2; ++j) {
      const Complex sum = load(xr + j * apart, xi + j * apart);
      const Complex difference = load(xr + (p - j) * apart, xi + (p - j) * apart);
#pragma GCC unroll 4
      for (int i = 0; i < N; ++i) {
        at[i] += k + i;
        if (at[i] >= p) at[i] -= p;
        x[i].add(sum, difference, pass.roots + 2 * at[i]);
      }
    }
    const auto put = [&](int64_t t, const Complex& a) __attribute__((always_inline)) {
      store(yr + t * step, yi + t * step, a.times(w + 2 * (t - 1)));
    };
    for (int i = 0; i < N; ++i) {
      put(k + i, x[i].low());
      put(p - k - i, x[i].high());
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
        Complex all = load(ar, ai);
        for (int64_t j = 1; j <= p / 2; ++j) {
          T *lr = ar + j * apart, *li = ai + j * apart;
          T *hr = ar + (p - j) * apart, *hi = ai + (p - j) * apart;
          const Complex low = load(lr, li), high = load(hr, hi), sum = low + high;
          store(lr, li, sum);
          store(hr, hi, low - high);
          all = all + sum;
        }
        store(br, bi, all);
        const T* w = pass.twiddles + q * 2 * (p - 1);
        int64_t k = 1;
        for (; k + N <= p / 2 + 1; k += N) elements<N>(pass, k, w, ar, ai, br, bi);
        for (; k <= p / 2; ++k) elements<1>(pass, k, w, ar, ai, br, bi);
      }
  }

  static void pass(const FftPass<T>& p, T* xr, T* xi, T* yr, T* yi) {
    const auto with = [&]<int... P>(std::integer_sequence<int, P...>) {
      return ((p.radix == P && (pass_of<P>(p, xr, xi, yr, yi), true)) || ...);
    };
    if (!with(std::integer_sequence<int, 2, 3, 4, 5, 7, 8, 11, 13>())) any_radix(p, xr, xi, yr, yi);
  }

  // Stretch i of x times the complex number w[i], in place.
  static void multiply(int64_t n, const T* w, T* xr, T* xi) {
    for (int64_t i = 0; i < n; ++i)
      for (int64_t e = i * L; e < (i + 1) * L; e += M::width)
        store(xr + e, xi + e, load(xr + e, xi + e).times(w + 2 * i));
  }

  static void unpack(int64_t n, const T* zr, const T* zi, T* fr, T* fi, int64_t row,
                     int64_t apart) {
    for (int64_t k = 0; k <= n / 2; ++k) {
      const int64_t there = k == 0 ? 0 : n - k;
      for (int64_t e = 0; e < L; e += M::width) {
        const Complex a = load(zr + k * L + e, zi + k * L + e);
        const Complex b = load(zr + there * L + e, zi + there * L + e);
        const int64_t to = k * row + e;
        store(fr + to, fi + to, {a.r + b.r, a.i - b.i});
        store(fr + to + apart, fi + to + apart, {a.i + b.i, b.r - a.r});
      }
    }
  }
};

}  // namespace attn::kernels::formulas
