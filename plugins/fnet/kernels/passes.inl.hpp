// SPDX-License-Identifier: Apache-2.0
//
// Bodies of passes.hpp, for inclusion into a namespace of its own by each file that instantiates them. Every
// template carries the vector type Vec<T, kBytes>, so that no copy of one instruction set can stand in for another.

// kBytes / sizeof(T) numbers, at any address; a plain T where that is one.
template <class T, int kBytes, bool kScalar = sizeof(T) == kBytes>
struct Vector {
  typedef T type __attribute__((vector_size(kBytes), aligned(alignof(T)), may_alias));
};
template <class T, int kBytes>
struct Vector<T, kBytes, true> {
  typedef T type;
};
template <class T, int kBytes>
using Vec = typename Vector<T, kBytes>::type;

#define ATTN_FNET_INLINE inline __attribute__((always_inline))

template <class T, int kBytes>
struct Complex {
  Vec<T, kBytes> r, i;
};
template <class T, int kBytes>
ATTN_FNET_INLINE Complex<T, kBytes> operator+(const Complex<T, kBytes>& a,
                                              const Complex<T, kBytes>& b) {
  return {a.r + b.r, a.i + b.i};
}
template <class T, int kBytes>
ATTN_FNET_INLINE Complex<T, kBytes> operator-(const Complex<T, kBytes>& a,
                                              const Complex<T, kBytes>& b) {
  return {a.r - b.r, a.i - b.i};
}
// -i a
template <class T, int kBytes>
ATTN_FNET_INLINE Complex<T, kBytes> turned(const Complex<T, kBytes>& a) {
  return {a.i, -a.r};
}

// The transform of p numbers, in place.
template <class T, int kBytes>
ATTN_FNET_INLINE void butterfly4(Complex<T, kBytes>& a0, Complex<T, kBytes>& a1,
                                 Complex<T, kBytes>& a2, Complex<T, kBytes>& a3) {
  const Complex<T, kBytes> t0 = a0 + a2, t1 = a0 - a2, t2 = a1 + a3, t3 = turned(a1 - a3);
  a0 = t0 + t2;
  a1 = t1 + t3;
  a2 = t0 - t2;
  a3 = t1 - t3;
}
template <class T, int kBytes, int P>
ATTN_FNET_INLINE void butterfly(Complex<T, kBytes>* a, const T* roots) {
  if constexpr (P == 2) {
    const Complex<T, kBytes> b = a[0] - a[1];
    a[0] = a[0] + a[1];
    a[1] = b;
  } else if constexpr (P == 4) {
    butterfly4<T, kBytes>(a[0], a[1], a[2], a[3]);
  } else if constexpr (P == 8) {
    butterfly4<T, kBytes>(a[0], a[2], a[4], a[6]);
    butterfly4<T, kBytes>(a[1], a[3], a[5], a[7]);
    const T half = static_cast<T>(0.70710678118654752440);
    const Complex<T, kBytes> o1 = {(a[3].r + a[3].i) * half, (a[3].i - a[3].r) * half};
    const Complex<T, kBytes> o2 = turned(a[5]);
    const Complex<T, kBytes> o3 = {(a[7].i - a[7].r) * half, (a[7].i + a[7].r) * -half};
    const Complex<T, kBytes> e0 = a[0], e1 = a[2], e2 = a[4], e3 = a[6], o0 = a[1];
    a[0] = e0 + o0, a[4] = e0 - o0;
    a[1] = e1 + o1, a[5] = e1 - o1;
    a[2] = e2 + o2, a[6] = e2 - o2;
    a[3] = e3 + o3, a[7] = e3 - o3;
  } else {
    // Odd: elements j and P - j meet conjugate roots.
    constexpr int H = (P - 1) / 2;
    Complex<T, kBytes> sum[H], difference[H];
    for (int j = 0; j < H; ++j) {
      sum[j] = a[j + 1] + a[P - 1 - j];
      difference[j] = a[j + 1] - a[P - 1 - j];
    }
    const Complex<T, kBytes> first = a[0];
    for (int j = 0; j < H; ++j) a[0] = a[0] + sum[j];
#pragma GCC unroll 6
    for (int k = 1; k <= H; ++k) {
      Complex<T, kBytes> even = first, odd = {first.r - first.r, first.i - first.i};
#pragma GCC unroll 6
      for (int j = 1; j <= H; ++j) {
        const int at = j * k % P;
        const T cosine = roots[2 * at], sine = -roots[2 * at + 1];
        even.r += sum[j - 1].r * cosine;
        even.i += sum[j - 1].i * cosine;
        odd.r = j == 1 ? difference[0].r * sine : odd.r + difference[j - 1].r * sine;
        odd.i = j == 1 ? difference[0].i * sine : odd.i + difference[j - 1].i * sine;
      }
      a[k] = {even.r + odd.i, even.i - odd.r};
      a[P - k] = {even.r - odd.i, even.i + odd.r};
    }
  }
}

template <class T, int kBytes, int P>
void pass_of(const Pass<T>& pass, int64_t lanes, const T* __restrict xr, const T* __restrict xi,
             T* __restrict yr, T* __restrict yi) {
  using V = Vec<T, kBytes>;
  constexpr int64_t kWidth = kBytes / static_cast<int64_t>(sizeof(T));
  const int64_t step = pass.s * lanes;
  const auto line = [&]<bool kTwiddled>(int64_t q) {
    const T* w = pass.twiddles + q * 2 * (P - 1);
    const int64_t from = q * step, to = P * q * step, apart = pass.m * step;
    for (int64_t e = 0; e < step; e += kWidth) {
      Complex<T, kBytes> a[P];
#pragma GCC unroll 16
      for (int r = 0; r < P; ++r)
        a[r] = {*reinterpret_cast<const V*>(xr + from + r * apart + e),
                *reinterpret_cast<const V*>(xi + from + r * apart + e)};
      butterfly<T, kBytes, P>(a, pass.roots);
#pragma GCC unroll 16
      for (int t = 0; t < P; ++t) {
        Complex<T, kBytes> b = a[t];
        if constexpr (kTwiddled) {
          if (t > 0) {
            const T c = w[2 * t - 2], s = w[2 * t - 1];
            b = {a[t].r * c - a[t].i * s, a[t].r * s + a[t].i * c};
          }
        }
        *reinterpret_cast<V*>(yr + to + t * step + e) = b.r;
        *reinterpret_cast<V*>(yi + to + t * step + e) = b.i;
      }
    }
  };
  line.template operator()<false>(0);
  for (int64_t q = 1; q < pass.m; ++q) line.template operator()<true>(q);
}

template <class T, int kBytes>
void pass(const Pass<T>& p, int64_t lanes, const T* xr, const T* xi, T* yr, T* yi) {
  switch (p.radix) {
    case 2:
      return pass_of<T, kBytes, 2>(p, lanes, xr, xi, yr, yi);
    case 3:
      return pass_of<T, kBytes, 3>(p, lanes, xr, xi, yr, yi);
    case 4:
      return pass_of<T, kBytes, 4>(p, lanes, xr, xi, yr, yi);
    case 5:
      return pass_of<T, kBytes, 5>(p, lanes, xr, xi, yr, yi);
    case 7:
      return pass_of<T, kBytes, 7>(p, lanes, xr, xi, yr, yi);
    case 8:
      return pass_of<T, kBytes, 8>(p, lanes, xr, xi, yr, yi);
    case 11:
      return pass_of<T, kBytes, 11>(p, lanes, xr, xi, yr, yi);
    default:
      return pass_of<T, kBytes, 13>(p, lanes, xr, xi, yr, yi);
  }
}

template <class T, int kBytes>
void multiply(int64_t n, int64_t lanes, const T* w, T* xr, T* xi) {
  using V = Vec<T, kBytes>;
  constexpr int64_t kWidth = kBytes / static_cast<int64_t>(sizeof(T));
  for (int64_t i = 0; i < n; ++i) {
    const T c = w[2 * i], s = w[2 * i + 1];
    for (int64_t e = i * lanes; e < (i + 1) * lanes; e += kWidth) {
      V* re = reinterpret_cast<V*>(xr + e);
      V* im = reinterpret_cast<V*>(xi + e);
      const V a = *re, b = *im;
      *re = a * c - b * s;
      *im = a * s + b * c;
    }
  }
}

template <class T, int kBytes>
void unpack(int64_t n, const T* __restrict zr, const T* __restrict zi, T* __restrict fr,
            T* __restrict fi, int64_t row, int64_t first, int64_t second, int64_t apart) {
  constexpr int64_t L = kLanes<T>;
  for (int64_t k = 0; k <= n / 2; ++k) {
    const int64_t there = k == 0 ? 0 : n - k;
    const T *ar = zr + k * L, *ai = zi + k * L, *br = zr + there * L, *bi = zi + there * L;
    T *r = fr + k * row, *i = fi + k * row;
    if (first == L && second == L) {
      for (int64_t e = 0; e < L; ++e) {
        r[e] = ar[e] + br[e];
        i[e] = ai[e] - bi[e];
      }
      for (int64_t e = 0; e < L; ++e) {
        r[apart + e] = ai[e] + bi[e];
        i[apart + e] = br[e] - ar[e];
      }
      continue;
    }
    for (int64_t e = 0; e < first; ++e) r[e] = ar[e] + br[e], i[e] = ai[e] - bi[e];
    for (int64_t e = 0; e < second; ++e) r[apart + e] = ai[e] + bi[e], i[apart + e] = br[e] - ar[e];
  }
}

// A block of 4 x 4 numbers, rows to columns.
template <class T, int kBytes>
ATTN_FNET_INLINE void turn_block(const T* from, int64_t row, T* to, int64_t column) {
  if constexpr (sizeof(T) == 4) {
    using V = Vec<T, 16>;
    const V a = *reinterpret_cast<const V*>(from), b = *reinterpret_cast<const V*>(from + row);
    const V c = *reinterpret_cast<const V*>(from + 2 * row);
    const V d = *reinterpret_cast<const V*>(from + 3 * row);
    const V ab0 = __builtin_shufflevector(a, b, 0, 4, 1, 5);
    const V ab1 = __builtin_shufflevector(a, b, 2, 6, 3, 7);
    const V cd0 = __builtin_shufflevector(c, d, 0, 4, 1, 5);
    const V cd1 = __builtin_shufflevector(c, d, 2, 6, 3, 7);
    *reinterpret_cast<V*>(to) = __builtin_shufflevector(ab0, cd0, 0, 1, 4, 5);
    *reinterpret_cast<V*>(to + column) = __builtin_shufflevector(ab0, cd0, 2, 3, 6, 7);
    *reinterpret_cast<V*>(to + 2 * column) = __builtin_shufflevector(ab1, cd1, 0, 1, 4, 5);
    *reinterpret_cast<V*>(to + 3 * column) = __builtin_shufflevector(ab1, cd1, 2, 3, 6, 7);
  } else {
    for (int i = 0; i < 4; ++i)
      for (int j = 0; j < 4; ++j) to[j * column + i] = from[i * row + j];
  }
}

template <class T, int kBytes>
void to_lanes(int64_t n, const T* __restrict rows, int64_t row, T* __restrict stretches) {
  constexpr int64_t L = kLanes<T>;
  int64_t i = 0;
  for (; i + 4 <= n; i += 4)
    for (int64_t e = 0; e < L; e += 4)
      turn_block<T, kBytes>(rows + e * row + i, row, stretches + i * L + e, L);
  for (; i < n; ++i)
    for (int64_t e = 0; e < L; ++e) stretches[i * L + e] = rows[e * row + i];
}

template <class T, int kBytes>
void to_rows(int64_t n, const T* __restrict stretches, T* __restrict rows, int64_t row) {
  constexpr int64_t L = kLanes<T>;
  int64_t i = 0;
  for (; i + 4 <= n; i += 4)
    for (int64_t e = 0; e < L; e += 4)
      turn_block<T, kBytes>(stretches + i * L + e, L, rows + e * row + i, row);
  for (; i < n; ++i)
    for (int64_t e = 0; e < L; ++e) rows[e * row + i] = stretches[i * L + e];
}

template <class T, int kBytes>
inline constexpr Loops<T> kLoops = {&pass<T, kBytes>, &multiply<T, kBytes>, &unpack<T, kBytes>,
                                    &to_lanes<T, kBytes>, &to_rows<T, kBytes>};

#undef ATTN_FNET_INLINE
