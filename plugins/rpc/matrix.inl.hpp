// SPDX-License-Identifier: Apache-2.0
//
// The functions of kernels/matrix.hpp over lanes L: a vector V of kWidth doubles (1, 2, 4 or 8), load, store, set.
// Includes nothing: kernels may not.

namespace {

template <class L>
struct Matrix {
  using V = typename L::V;
  static constexpr int64_t kWidth = L::kWidth;
  // Vectors of a strip that stays in registers.
  static constexpr int kStrip = 4;

  // In pairs: a chain of additions would be slower.
  static double sum(V v) {
    alignas(64) double lanes[kWidth];
    L::store(lanes, v);
    for (int64_t n = kWidth / 2; n > 0; n /= 2)
      for (int64_t i = 0; i < n; ++i) lanes[i] += lanes[i + n];
    return lanes[0];
  }

  template <int kRows, int kVectors>
  static void tile(int64_t k, const double* a, int64_t a_row, int64_t a_col, const double* b,
                   int64_t b_row, double* c, int64_t c_row, bool add) {
    V acc[kRows][kVectors];
    for (int i = 0; i < kRows; ++i)
      for (int j = 0; j < kVectors; ++j)
        acc[i][j] = add ? L::load(c + i * c_row + j * kWidth) : L::set(0);
    for (int64_t p = 0; p < k; ++p) {
      V y[kVectors];
      for (int j = 0; j < kVectors; ++j) y[j] = L::load(b + p * b_row + j * kWidth);
      for (int i = 0; i < kRows; ++i) {
        const V x = L::set(a[i * a_row + p * a_col]);
        for (int j = 0; j < kVectors; ++j) acc[i][j] += x * y[j];
      }
    }
    for (int i = 0; i < kRows; ++i)
      for (int j = 0; j < kVectors; ++j) L::store(c + i * c_row + j * kWidth, acc[i][j]);
  }
  template <int kVectors>
  static void panel(int64_t m, int64_t k, const double* a, int64_t a_row, int64_t a_col,
                    const double* b, int64_t b_row, double* c, int64_t c_row, bool add) {
    int64_t i = 0;
    for (; i + 4 <= m; i += 4)
      tile<4, kVectors>(k, a + i * a_row, a_row, a_col, b, b_row, c + i * c_row, c_row, add);
    for (; i < m; ++i)
      tile<1, kVectors>(k, a + i * a_row, a_row, a_col, b, b_row, c + i * c_row, c_row, add);
  }
  static void multiply(int64_t m, int64_t n, int64_t k, const double* a, int64_t a_row,
                       int64_t a_col, const double* b, int64_t b_row, double* c, int64_t c_row,
                       bool add) {
    int64_t j = 0;
    for (; j + 2 * kWidth <= n; j += 2 * kWidth)
      panel<2>(m, k, a, a_row, a_col, b + j, b_row, c + j, c_row, add);
    for (; j < n; j += kWidth) panel<1>(m, k, a, a_row, a_col, b + j, b_row, c + j, c_row, add);
  }

  static void reduce(int64_t begin, int64_t end, int64_t first, int64_t last, int64_t ld, double* a,
                     const double* v, const double* w, const double* next, double* p) {
    for (int64_t i = begin; i < end; ++i) {
      double* row = a + i * ld;
      const V vi = L::set(v[i]), wi = L::set(w[i]);
      V s0 = L::set(0), s1 = L::set(0);
      for (int64_t j = first; j < last; j += 8) {
        for (int64_t u = 0; u < 8; u += kWidth) {
          const V x = L::load(row + j + u) - vi * L::load(w + j + u) - wi * L::load(v + j + u);
          L::store(row + j + u, x);
          if (u & 4)
            s1 += x * L::load(next + j + u);
          else
            s0 += x * L::load(next + j + u);
        }
      }
      p[i] = sum(s0 + s1);
    }
  }

  template <int kVectors>
  static void rotate_strip(int64_t count, const Rotation* r, int64_t ld, double* z) {
    V carry[kVectors];
    for (int64_t n = 0; n < count; ++n) {
      double *low = z + r[n].i * ld, *high = low + ld;
      // A sweep goes down row by row: the upper row of one rotation is the lower of the next.
      if (n == 0 || r[n].i + 1 != r[n - 1].i)
        for (int j = 0; j < kVectors; ++j) carry[j] = L::load(high + j * kWidth);
      const V c = L::set(r[n].c), s = L::set(r[n].s);
      const bool keep = n + 1 < count && r[n + 1].i + 1 == r[n].i;
      for (int j = 0; j < kVectors; ++j) {
        const V x = L::load(low + j * kWidth);
        L::store(high + j * kWidth, s * x + c * carry[j]);
        carry[j] = c * x - s * carry[j];
        if (!keep) L::store(low + j * kWidth, carry[j]);
      }
    }
  }
  static void rotate(int64_t count, const Rotation* r, int64_t columns, int64_t ld, double* z) {
    int64_t j = 0;
    for (; j + kStrip * kWidth <= columns; j += kStrip * kWidth)
      rotate_strip<kStrip>(count, r, ld, z + j);
    for (; j < columns; j += kWidth) rotate_strip<1>(count, r, ld, z + j);
  }

  template <int kRows>
  static void reflect_rows(int64_t first, int64_t last, int64_t ld, double beta, const double* v,
                           double* z) {
    V s[kRows];
    for (int i = 0; i < kRows; ++i) s[i] = L::set(0);
    for (int64_t j = first; j < last; j += kWidth) {
      const V y = L::load(v + j);
      for (int i = 0; i < kRows; ++i) s[i] += L::load(z + i * ld + j) * y;
    }
    V f[kRows];
    for (int i = 0; i < kRows; ++i) f[i] = L::set(beta * sum(s[i]));
    for (int64_t j = first; j < last; j += kWidth) {
      const V y = L::load(v + j);
      for (int i = 0; i < kRows; ++i) L::store(z + i * ld + j, L::load(z + i * ld + j) - f[i] * y);
    }
  }
  static void reflect(int64_t rows, int64_t first, int64_t last, int64_t ld, double beta,
                      const double* v, double* z) {
    int64_t i = 0;
    for (; i + 4 <= rows; i += 4) reflect_rows<4>(first, last, ld, beta, v, z + i * ld);
    for (; i < rows; ++i) reflect_rows<1>(first, last, ld, beta, v, z + i * ld);
  }

  static constexpr MatrixKernels kTable = {multiply, reduce, rotate, reflect};
};

}  // namespace
