// SPDX-License-Identifier: Apache-2.0
//
// kernels/matrix.hpp, compiled once for each instruction set. No header of the standard library: a function compiled
// here must not stand in for one of the baseline.
#include "matrix.hpp"

#include <attn/sdk/simd.hpp>

namespace rpc::ATTN_KERNEL_LEVEL {
namespace {

using namespace attn::sdk::simd;
using V = Vec<double>;
constexpr int64_t W = kWidth<double>;
constexpr int kStrip = 4;  // vectors of a strip that stays in registers

void reduce(int64_t begin, int64_t end, int64_t first, int64_t last, int64_t ld, double* a,
            const double* v, const double* w, const double* next, double* p) {
  for (int64_t i = begin; i < end; ++i) {
    double* row = a + i * ld;
    const V vi = set(v[i]), wi = set(w[i]);
    V s0 = V{}, s1 = V{};
    for (int64_t j = first; j < last; j += 8) {
      for (int64_t u = 0; u < 8; u += W) {
        const V x = load(row + j + u) - vi * load(w + j + u) - wi * load(v + j + u);
        store(row + j + u, x);
        if (u & 4)
          s1 += x * load(next + j + u);
        else
          s0 += x * load(next + j + u);
      }
    }
    p[i] = sum(s0 + s1);
  }
}

template <int kVectors>
void rotate_strip(int64_t count, const Rotation* r, int64_t ld, double* z) {
  V carry[kVectors];
  for (int64_t n = 0; n < count; ++n) {
    double *low = z + r[n].i * ld, *high = low + ld;
    // A sweep goes down row by row: the upper row of one rotation is the lower of the next.
    if (n == 0 || r[n].i + 1 != r[n - 1].i)
      for (int j = 0; j < kVectors; ++j) carry[j] = load(high + j * W);
    const V c = set(r[n].c), s = set(r[n].s);
    const bool keep = n + 1 < count && r[n + 1].i + 1 == r[n].i;
    for (int j = 0; j < kVectors; ++j) {
      const V x = load(low + j * W);
      store(high + j * W, s * x + c * carry[j]);
      carry[j] = c * x - s * carry[j];
      if (!keep) store(low + j * W, carry[j]);
    }
  }
}
void rotate(int64_t count, const Rotation* r, int64_t columns, int64_t ld, double* z) {
  int64_t j = 0;
  for (; j + kStrip * W <= columns; j += kStrip * W) rotate_strip<kStrip>(count, r, ld, z + j);
  for (; j < columns; j += W) rotate_strip<1>(count, r, ld, z + j);
}

template <int kRows>
void reflect_rows(int64_t first, int64_t last, int64_t ld, double beta, const double* v,
                  double* z) {
  V s[kRows];
  for (int i = 0; i < kRows; ++i) s[i] = V{};
  for (int64_t j = first; j < last; j += W) {
    const V y = load(v + j);
    for (int i = 0; i < kRows; ++i) s[i] += load(z + i * ld + j) * y;
  }
  V f[kRows];
  for (int i = 0; i < kRows; ++i) f[i] = set(beta * sum(s[i]));
  for (int64_t j = first; j < last; j += W) {
    const V y = load(v + j);
    for (int i = 0; i < kRows; ++i) store(z + i * ld + j, load(z + i * ld + j) - f[i] * y);
  }
}
void reflect(int64_t rows, int64_t first, int64_t last, int64_t ld, double beta, const double* v,
             double* z) {
  int64_t i = 0;
  for (; i + 4 <= rows; i += 4) reflect_rows<4>(first, last, ld, beta, v, z + i * ld);
  for (; i < rows; ++i) reflect_rows<1>(first, last, ld, beta, v, z + i * ld);
}

}  // namespace
}  // namespace rpc::ATTN_KERNEL_LEVEL

ATTN_SDK_EXPORT(rpc, MatrixKernels, matrix_kernels, {reduce, rotate, reflect})
