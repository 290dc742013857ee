// SPDX-License-Identifier: Apache-2.0
//
// kernels/rows.hpp in the vectors of one instruction set. No header of the standard library: a function compiled here
// must not stand in for one of the baseline.
#include "rows.hpp"

namespace capsule::ATTN_KERNEL_LEVEL {
#include "../rows.inl.hpp"

namespace {

#if defined(__AVX512F__)
constexpr int kBytes = 64;
#elif defined(__AVX2__)
constexpr int kBytes = 32;
#else
constexpr int kBytes = 16;
#endif

#define ATTN_LANES inline __attribute__((always_inline)) static

struct Lanes {
  using T = float;
  typedef float V __attribute__((vector_size(kBytes)));
  typedef int32_t I __attribute__((vector_size(kBytes)));
  typedef float Loose __attribute__((vector_size(kBytes), aligned(4), may_alias));
  static constexpr int64_t kWidth = kBytes / 4;

  ATTN_LANES V load(const float* p) { return *reinterpret_cast<const Loose*>(p); }
  ATTN_LANES void store(float* p, V v) { *reinterpret_cast<Loose*>(p) = v; }
  ATTN_LANES V set(float x) { return x - V{}; }
  ATTN_LANES V max(V a, V b) { return a > b ? a : b; }
  // Relative error below 2e-7 for -87 <= x <= 0; e^-87, about 1e-38, below.
  ATTN_LANES V exp(V x) {
    x = max(set(-87.0F), x);  // NaN stays
    const V shift =
        set(12582912.0F);  // 1.5 * 2^23: the sum holds the nearest integer in its lowest bits
    const V t = x * set(1.44269504F) + shift;
    const V n = t - shift;
    V r = x - n * set(0.693359375F);
    r = r + n * set(2.12194440e-4F);
    V y = set(1.98412698e-4F);
    y = y * r + set(1.38888889e-3F);
    y = y * r + set(8.33333333e-3F);
    y = y * r + set(4.16666667e-2F);
    y = y * r + set(0.166666667F);
    y = y * r + set(0.5F);
    y = y * r * r + r + set(1.0F);
    // 2^n by adding n to the exponent of y, which lies in (0.5, 2).
    const I bits = (__builtin_bit_cast(I, t) << 23) + __builtin_bit_cast(I, y);
    return __builtin_bit_cast(V, bits);
  }
};

// The last columns of a row, one by one.
struct One {
  using T = float;
  using V = float;
  static constexpr int64_t kWidth = 1;
  ATTN_LANES float load(const float* p) { return *p; }
  ATTN_LANES void store(float* p, float v) { *p = v; }
  ATTN_LANES float set(float x) { return x; }
  ATTN_LANES float max(float a, float b) { return a > b ? a : b; }
  ATTN_LANES float exp(float x) {
    float lanes[Lanes::kWidth];
    Lanes::store(lanes, Lanes::exp(Lanes::set(x)));
    return lanes[0];
  }
};

int64_t whole(const HeadRows& r) { return r.n / Lanes::kWidth * Lanes::kWidth; }

void gram(const HeadRows& r, double* g) {
  const int64_t heads = r.heads, m = whole(r);
  for (int64_t i = 0; i < heads * heads; ++i) g[i] = 0;
  for (int64_t h = 0; h < heads; ++h) {
    const float* row = r.rows + h * r.stride;
    Rows<Lanes>::products(heads - h, 0, m, row, row, r.stride, g + h * heads + h);
    Rows<One>::products(heads - h, m, r.n, row, row, r.stride, g + h * heads + h);
    for (int64_t k = 0; k < h; ++k) g[h * heads + k] = g[k * heads + h];
  }
}

void combine(const HeadRows& r, const float* gamma, float* cap) {
  Rows<Lanes>::combine(r.heads, 0, whole(r), r.rows, r.stride, gamma, cap);
  Rows<One>::combine(r.heads, whole(r), r.n, r.rows, r.stride, gamma, cap);
}

void share(const HeadRows& r, const float* cap, const float* sums, const float* bias, bool add) {
  Rows<Lanes>::share(r.heads, 0, whole(r), r.rows, r.stride, cap, sums, bias, add);
  Rows<One>::share(r.heads, whole(r), r.n, r.rows, r.stride, cap, sums, bias, add);
}

void share_back(const HeadRows& r, const float* cap, const float* sums, const float* bias, bool add,
                const float* dout, int64_t dout_stride, float* dcap, double* totals,
                float* scratch) {
  Rows<Lanes>::share_back(r.heads, 0, whole(r), cap, sums, bias, add, dout, dout_stride, dcap,
                          totals, scratch);
  Rows<One>::share_back(r.heads, whole(r), r.n, cap, sums, bias, add, dout, dout_stride, dcap,
                        totals, scratch);
}

void dots(const HeadRows& r, const float* x, double* out) {
  for (int64_t h = 0; h < r.heads; ++h) out[h] = 0;
  Rows<Lanes>::products(r.heads, 0, whole(r), x, r.rows, r.stride, out);
  Rows<One>::products(r.heads, whole(r), r.n, x, r.rows, r.stride, out);
}

void mix(const HeadRows& r, const float* gamma, const float* dcap, const float* mix,
         float* scratch) {
  Rows<Lanes>::mix(r.heads, 0, whole(r), r.rows, r.stride, gamma, dcap, mix, scratch);
  Rows<One>::mix(r.heads, whole(r), r.n, r.rows, r.stride, gamma, dcap, mix, scratch);
}

constexpr RowKernels kTable = {gram, combine, share, share_back, dots, mix};

}  // namespace

const RowKernels& row_kernels() { return kTable; }

}  // namespace capsule::ATTN_KERNEL_LEVEL
