// SPDX-License-Identifier: Apache-2.0
//
// The functions of kernels/rows.hpp over lanes L: a number type T, a vector type V of kWidth of them, load, store,
// exp (of x <= 0) and max. Written once for the vectors of each instruction set and for single numbers, which also
// take the rest of a row. Includes nothing: kernels may not.

namespace {

template <class L>
struct Rows {
  using T = typename L::T;
  using V = typename L::V;
  static constexpr int64_t kWidth = L::kWidth;

  static T sum(V v) {
    alignas(64) T lanes[kWidth];
    L::store(lanes, v);
    T s = 0;
    for (int64_t i = 0; i < kWidth; ++i) s += lanes[i];
    return s;
  }

  // Adds the products of x with rows y, y + stride, ... (count <= 4) over [begin, end) to out.
  template <int kCount>
  static void products(int64_t begin, int64_t end, const T* x, const T* y, int64_t stride,
                       double* out) {
    V acc[kCount];
    for (int k = 0; k < kCount; ++k) acc[k] = L::set(0);
    for (int64_t j = begin; j < end; j += kWidth) {
      const V v = L::load(x + j);
      for (int k = 0; k < kCount; ++k) acc[k] += v * L::load(y + k * stride + j);
    }
    for (int k = 0; k < kCount; ++k) out[k] += static_cast<double>(sum(acc[k]));
  }
  static void products(int64_t count, int64_t begin, int64_t end, const T* x, const T* y,
                       int64_t stride, double* out) {
    for (; count >= 4; count -= 4, y += 4 * stride, out += 4)
      products<4>(begin, end, x, y, stride, out);
    for (; count > 0; --count, y += stride, ++out) products<1>(begin, end, x, y, stride, out);
  }

  static void combine(int64_t heads, int64_t begin, int64_t end, const T* rows, int64_t stride,
                      const T* gamma, T* cap) {
    for (int64_t j = begin; j < end; j += kWidth) {
      V v = L::set(0);
      for (int64_t h = 0; h < heads; ++h) v += L::set(gamma[h]) * L::load(rows + h * stride + j);
      L::store(cap + j, v);
    }
  }

  // The softmax over heads at column j: weights into w (heads, kWidth).
  static void softmax(int64_t heads, V cap, const T* sums, const T* bias, T* w) {
    V top = cap * L::set(sums[0]) + L::set(bias[0]);
    for (int64_t g = 1; g < heads; ++g) top = L::max(top, cap * L::set(sums[g]) + L::set(bias[g]));
    V total = L::set(0);
    for (int64_t g = 0; g < heads; ++g) {
      const V e = L::exp(cap * L::set(sums[g]) + L::set(bias[g]) - top);
      L::store(w + g * kWidth, e);
      total += e;
    }
    const V inverse = L::set(1) / total;
    for (int64_t g = 0; g < heads; ++g) L::store(w + g * kWidth, L::load(w + g * kWidth) * inverse);
  }

  static void share(int64_t heads, int64_t begin, int64_t end, T* rows, int64_t stride,
                    const T* cap, const T* sums, const T* bias, bool add) {
    const V one = L::set(add ? 1 : 0);
    for (int64_t j = begin; j < end; j += kWidth) {
      const V c = L::load(cap + j);
      V top = c * L::set(sums[0]) + L::set(bias[0]);
      for (int64_t g = 1; g < heads; ++g) top = L::max(top, c * L::set(sums[g]) + L::set(bias[g]));
      V total = L::set(0);
      for (int64_t g = 0; g < heads; ++g) {
        const V e = L::exp(c * L::set(sums[g]) + L::set(bias[g]) - top);
        L::store(rows + g * stride + j, e);
        total += e;
      }
      const V inverse = c / total, rest = one * c;
      for (int64_t g = 0; g < heads; ++g)
        L::store(rows + g * stride + j, L::load(rows + g * stride + j) * inverse + rest);
    }
  }

  // scratch: (3, heads, kWidth): weights, then the gradients of sums and bias in lanes.
  static void share_back(int64_t heads, int64_t begin, int64_t end, const T* cap, const T* sums,
                         const T* bias, bool add, const T* dout, int64_t dout_stride, T* dcap,
                         double* totals, T* scratch) {
    if (begin >= end) return;
    T *w = scratch, *dsums = w + heads * kWidth, *dbias = dsums + heads * kWidth;
    for (int64_t i = 0; i < 2 * heads * kWidth; ++i) dsums[i] = 0;
    for (int64_t j = begin; j < end; j += kWidth) {
      const V c = L::load(cap + j);
      softmax(heads, c, sums, bias, w);
      V direct = L::set(0), all = L::set(0);
      for (int64_t g = 0; g < heads; ++g) {
        const V d = L::load(dout + g * dout_stride + j);
        direct += d * L::load(w + g * kWidth);
        all += d;
      }
      V total = direct + L::set(add ? 1 : 0) * all;
      for (int64_t g = 0; g < heads; ++g) {
        const V d = L::load(dout + g * dout_stride + j);
        const V dz = L::load(w + g * kWidth) * (d - direct) * c;
        total += dz * L::set(sums[g]);
        L::store(dsums + g * kWidth, L::load(dsums + g * kWidth) + dz * c);
        L::store(dbias + g * kWidth, L::load(dbias + g * kWidth) + dz);
      }
      L::store(dcap + j, total);
    }
    for (int64_t g = 0; g < heads; ++g) {
      totals[g] += static_cast<double>(sum(L::load(dsums + g * kWidth)));
      totals[heads + g] += static_cast<double>(sum(L::load(dbias + g * kWidth)));
    }
  }

  static void mix(int64_t heads, int64_t begin, int64_t end, T* rows, int64_t stride,
                  const T* gamma, const T* dcap, const T* mix, T* scratch) {
    for (int64_t j = begin; j < end; j += kWidth) {
      for (int64_t h = 0; h < heads; ++h)
        L::store(scratch + h * kWidth, L::load(rows + h * stride + j));
      const V d = L::load(dcap + j);
      for (int64_t h = 0; h < heads; ++h) {
        V v = L::set(gamma[h]) * d;
        for (int64_t k = 0; k < heads; ++k)
          v += L::set(mix[h * heads + k]) * L::load(scratch + k * kWidth);
        L::store(rows + h * stride + j, v);
      }
    }
  }
};

}  // namespace
