// SPDX-License-Identifier: Apache-2.0
//
// Matrix product as it is written in books: the oracle of gemm.hpp, the float64 path and ATTN_ISA=reference.
#pragma once

#include <cstdint>

namespace attn::kernels::reference {

// c[i, j] = alpha * sum over p of a[i, p] * b[p, j] (+ c[i, j]) (+ bias[j]). a: (m, k), b: (k, n) with strides
// in elements; c: (m, n), rows c_row apart; bias: (n) or nullptr.
template <class T>
void gemm(int64_t m, int64_t n, int64_t k, T alpha, const T* a, int64_t a_row, int64_t a_col,
          const T* b, int64_t b_row, int64_t b_col, T* c, int64_t c_row, bool accumulate = false,
          const T* bias = nullptr) {
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      T sum = 0;
      for (int64_t p = 0; p < k; ++p) sum += a[i * a_row + p * a_col] * b[p * b_row + j * b_col];
      sum *= alpha;
      if (accumulate) sum += c[i * c_row + j];
      if (bias != nullptr) sum += bias[j];
      c[i * c_row + j] = sum;
    }
  }
}

}  // namespace attn::kernels::reference
