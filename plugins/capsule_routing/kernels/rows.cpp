// SPDX-License-Identifier: Apache-2.0
//
// kernels/rows.hpp, compiled once for each instruction set. No header of the standard library: a function compiled here
// must not stand in for one of the baseline.
#include "rows.hpp"

#include <attn/sdk/simd.hpp>

namespace capsule::ATTN_KERNEL_LEVEL {
namespace {

using namespace attn::sdk::simd;

// The columns of a row from j on that one vector takes: all lanes, or the first n of them, the others 0.
template <class T>
struct Whole {
  int64_t j;
  ATTN_SIMD_INLINE Vec<T> get(const T* row) const { return load(row + j); }
  ATTN_SIMD_INLINE void put(T* row, Vec<T> x) const { store(row + j, x); }
};
template <class T>
struct First {
  int64_t j, n;
  ATTN_SIMD_INLINE Vec<T> get(const T* row) const { return load_first(row + j, n); }
  ATTN_SIMD_INLINE void put(T* row, Vec<T> x) const { store_first(row + j, x, n); }
};
template <class T, class F>
ATTN_SIMD_INLINE void over_columns(int64_t n, F&& f) {
  int64_t j = 0;
  for (; j + kWidth<T> <= n; j += kWidth<T>) f(Whole<T>{j});
  if (j < n) f(First<T>{j, n - j});
}

// What sums run in: single numbers are summed up in double.
template <class T, int64_t kNumbers>
struct SumOf {
  typedef Vec<T> type;
};
template <class T>
struct SumOf<T, 1> {
  typedef double type __attribute__((vector_size(sizeof(double))));
};
template <class T>
using Sum = typename SumOf<T, kWidth<T>>::type;
template <class T>
ATTN_SIMD_INLINE Sum<T> wide(Vec<T> x) {
  return __builtin_convertvector(x, Sum<T>);
}

// out[k] = x . row k of y, for kCount rows.
template <int kCount, class T>
void products(int64_t n, const T* x, const T* y, int64_t stride, double* out) {
  Sum<T> acc[kCount];
  for (int k = 0; k < kCount; ++k) acc[k] = Sum<T>{};
  over_columns<T>(n, [&](auto at) {
    const Sum<T> v = wide<T>(at.get(x));
    for (int k = 0; k < kCount; ++k) acc[k] += v * wide<T>(at.get(y + k * stride));
  });
  for (int k = 0; k < kCount; ++k) out[k] = static_cast<double>(sum(acc[k]));
}
template <class T>
void products(int64_t rows, int64_t n, const T* x, const T* y, int64_t stride, double* out) {
  for (; rows >= 4; rows -= 4, y += 4 * stride, out += 4) products<4>(n, x, y, stride, out);
  for (; rows > 0; --rows, y += stride, ++out) products<1>(n, x, y, stride, out);
}

template <class T>
void gram(const HeadRows<T>& r, double* g) {
  for (int64_t h = 0; h < r.heads; ++h) {
    const T* row = r.rows + h * r.stride;
    products(r.heads - h, r.n, row, row, r.stride, g + h * r.heads + h);
    for (int64_t k = 0; k < h; ++k) g[h * r.heads + k] = g[k * r.heads + h];
  }
}

template <class T>
void dots(const HeadRows<T>& r, const T* x, double* out) {
  products(r.heads, r.n, x, r.rows, r.stride, out);
}

template <class T>
void combine(const HeadRows<T>& r, const T* gamma, T* cap) {
  over_columns<T>(r.n, [&](auto at) {
    Vec<T> v{};
    for (int64_t h = 0; h < r.heads; ++h) v += gamma[h] * at.get(r.rows + h * r.stride);
    at.put(cap, v);
  });
}

// put(g, e^(z_g - the largest z)) for all heads, z_g = cap sums_g + bias_g; their sum.
template <class T, class F>
ATTN_SIMD_INLINE Vec<T> exponentials(int64_t heads, Vec<T> cap, const Sharing<T>& s, F&& put) {
  constexpr T kLog2e = static_cast<T>(1.44269504088896340736);
  Vec<T> top = cap * s.sums[0] + s.bias[0], total{};
  for (int64_t g = 1; g < heads; ++g) top = max(top, cap * s.sums[g] + s.bias[g]);
  for (int64_t g = 0; g < heads; ++g) {
    const Vec<T> e = exp2((cap * s.sums[g] + s.bias[g] - top) * kLog2e);
    put(g, e);
    total += e;
  }
  return total;
}

template <class T>
void share(const HeadRows<T>& r, const Sharing<T>& s) {
  over_columns<T>(r.n, [&](auto at) {
    const Vec<T> cap = at.get(s.cap);
    const Vec<T> total = exponentials(
        r.heads, cap, s, [&](int64_t g, Vec<T> e) { at.put(r.rows + g * r.stride, e); });
    const Vec<T> factor = cap / total, rest = s.add ? cap : Vec<T>{};
    for (int64_t g = 0; g < r.heads; ++g) {
      T* row = r.rows + g * r.stride;
      at.put(row, at.get(row) * factor + rest);
    }
  });
}

template <class T>
void share_back(const HeadRows<const T>& dout, const Sharing<T>& s, T* dcap, double* totals,
                T* scratch) {
  constexpr int64_t W = kWidth<T>;
  const int64_t heads = dout.heads;
  T *w = scratch, *dsums = w + heads * W, *dbias = dsums + heads * W;
  for (int64_t i = 0; i < 2 * heads * W; ++i) dsums[i] = 0;
  over_columns<T>(dout.n, [&](auto at) {
    const Vec<T> cap = at.get(s.cap);
    const Vec<T> inverse =
        T(1) / exponentials(heads, cap, s, [&](int64_t g, Vec<T> e) { store(w + g * W, e); });
    // Every head gets w_g cap: direct = sum_g dout_g w_g, and through z_g the rest.
    Vec<T> direct{}, all{};
    for (int64_t g = 0; g < heads; ++g) {
      const Vec<T> p = load(w + g * W) * inverse, d = at.get(dout.rows + g * dout.stride);
      store(w + g * W, p);
      direct += d * p;
      all += d;
    }
    Vec<T> total = s.add ? direct + all : direct;
    for (int64_t g = 0; g < heads; ++g) {
      const Vec<T> d = at.get(dout.rows + g * dout.stride);
      const Vec<T> dz = load(w + g * W) * (d - direct) * cap;
      total += dz * s.sums[g];
      store(dsums + g * W, load(dsums + g * W) + dz * cap);
      store(dbias + g * W, load(dbias + g * W) + dz);
    }
    at.put(dcap, total);
  });
  for (int64_t g = 0; g < heads; ++g) {
    totals[g] += static_cast<double>(sum(load(dsums + g * W)));
    totals[heads + g] += static_cast<double>(sum(load(dbias + g * W)));
  }
}

template <class T>
void mix(const HeadRows<T>& r, const T* gamma, const T* dcap, const T* mix, T* scratch) {
  constexpr int64_t W = kWidth<T>;
  over_columns<T>(r.n, [&](auto at) {
    for (int64_t h = 0; h < r.heads; ++h) store(scratch + h * W, at.get(r.rows + h * r.stride));
    const Vec<T> d = at.get(dcap);
    for (int64_t h = 0; h < r.heads; ++h) {
      Vec<T> v = gamma[h] * d;
      for (int64_t k = 0; k < r.heads; ++k) v += mix[h * r.heads + k] * load(scratch + k * W);
      at.put(r.rows + h * r.stride, v);
    }
  });
}

template <class T>
constexpr RowKernels<T> kRows = {gram<T>, combine<T>, share<T>, share_back<T>, dots<T>, mix<T>};

}  // namespace
}  // namespace capsule::ATTN_KERNEL_LEVEL

ATTN_SDK_EXPORT(capsule, Kernels, kernels, {kRows<float>, kRows<double>})
