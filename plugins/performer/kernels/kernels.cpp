// SPDX-License-Identifier: Apache-2.0
//
// Compiled once for each instruction set.
#include "kernels.hpp"
#include "vector.hpp"

namespace attn::performer::ATTN_KERNEL_LEVEL {

namespace {

// R rows and V registers of c stay in registers while k runs.
template <int R, int V>
inline void block(int64_t k, const float* a, int64_t a_row, int64_t a_col, const float* b,
                  int64_t b_row, float* c, int64_t c_row, bool add) {
  Vec sum[R][V];
  for (int i = 0; i < R; ++i)
    for (int v = 0; v < V; ++v) sum[i][v] = add ? load(c + i * c_row + v * kWidth) : all(0.0F);
  for (int64_t p = 0; p < k; ++p) {
    Vec row[V];
    for (int v = 0; v < V; ++v) row[v] = load(b + p * b_row + v * kWidth);
    for (int i = 0; i < R; ++i) {
      const Vec x = all(a[i * a_row + p * a_col]);
      for (int v = 0; v < V; ++v) sum[i][v] = times_plus(x, row[v], sum[i][v]);
    }
  }
  for (int i = 0; i < R; ++i)
    for (int v = 0; v < V; ++v) store(c + i * c_row + v * kWidth, sum[i][v]);
}

// V registers of columns, all rows: R at a time, then 4, then 1.
template <int R, int V>
void columns(int64_t m, int64_t k, const float* a, int64_t a_row, int64_t a_col, const float* b,
             int64_t b_row, float* c, int64_t c_row, bool add) {
  int64_t i = 0;
  for (; i + R <= m; i += R)
    block<R, V>(k, a + i * a_row, a_row, a_col, b, b_row, c + i * c_row, c_row, add);
  for (; i + 4 <= m; i += 4)
    block<4, V>(k, a + i * a_row, a_row, a_col, b, b_row, c + i * c_row, c_row, add);
  for (; i < m; ++i)
    block<1, V>(k, a + i * a_row, a_row, a_col, b, b_row, c + i * c_row, c_row, add);
}

void product(int64_t m, int64_t n, int64_t k, const float* a, int64_t a_row, int64_t a_col,
             const float* b, int64_t b_row, float* c, int64_t c_row, bool add) {
  int64_t j = 0;
  // As many sums as there are registers for: 24 of 32, or 12 of 16.
  if constexpr (kWidth == 16) {
    for (; j + 64 <= n; j += 64)
      columns<6, 4>(m, k, a, a_row, a_col, b + j, b_row, c + j, c_row, add);
    for (; j + 48 <= n; j += 48)
      columns<8, 3>(m, k, a, a_row, a_col, b + j, b_row, c + j, c_row, add);
    for (; j + 32 <= n; j += 32)
      columns<12, 2>(m, k, a, a_row, a_col, b + j, b_row, c + j, c_row, add);
    for (; j < n; j += 16) columns<16, 1>(m, k, a, a_row, a_col, b + j, b_row, c + j, c_row, add);
  } else {
    for (; j < n; j += 2 * kWidth)
      columns<6, 2>(m, k, a, a_row, a_col, b + j, b_row, c + j, c_row, add);
  }
}

float largest(Vec x) {
  float part[kWidth];
  store(part, x);
  float top = part[0];
  for (int i = 1; i < kWidth; ++i) top = part[i] > top ? part[i] : top;
  return top;
}

void row_peaks(int64_t m, int64_t n, const float* x, int64_t ld, float* peak) {
  for (int64_t f = 0; f < m; ++f) {
    Vec top = all(-kNever<float>);
    for (int64_t j = 0; j < n; j += kWidth) top = larger(load(x + f * ld + j), top);
    float first[kWidth];
    store(first, whole(all(largest(top))));
    peak[f] = first[0];
  }
}

void column_peaks(int64_t m, int64_t n, const float* x, int64_t ld, const float* shift,
                  float* peak) {
  for (int64_t j = 0; j < n; j += kWidth) {
    Vec top = all(-__FLT_MAX__);
    for (int64_t f = 0; f < m; ++f)
      top = larger(plus(whole(load(x + f * ld + j)), all(shift[f])), top);
    store(peak + j, top);
  }
}

void powers(int64_t m, int64_t n, float* x, int64_t ld, const float* row, const float* column) {
  for (int64_t f = 0; f < m; ++f) {
    const Vec shift = all(row[f]);
    float* p = x + f * ld;
    for (int64_t j = 0; j < n; j += kWidth)
      store(p + j, shifted_power(load(p + j), shift, column ? load(column + j) : all(0.0F)));
  }
}

void scale_columns(int64_t m, int64_t n, float* x, int64_t ld, const float* factor) {
  for (int64_t f = 0; f < m; ++f)
    for (int64_t j = 0; j < n; j += kWidth)
      store(x + f * ld + j, times(load(x + f * ld + j), load(factor + j)));
}

void multiply(int64_t m, int64_t n, float* x, int64_t ld, const float* y, int64_t y_ld) {
  for (int64_t f = 0; f < m; ++f)
    for (int64_t j = 0; j < n; j += kWidth)
      store(x + f * ld + j, times(load(x + f * ld + j), load(y + f * y_ld + j)));
}

}  // namespace

extern const Functions<float> kFunctions;
const Functions<float> kFunctions = {product, row_peaks,     column_peaks,
                                     powers,  scale_columns, multiply};

}  // namespace attn::performer::ATTN_KERNEL_LEVEL
