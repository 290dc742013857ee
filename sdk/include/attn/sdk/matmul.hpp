// SPDX-License-Identifier: Apache-2.0
//
// One matrix product on one thread, at the level of the CPU in use: for the bodies of OpCall::loop().
//
//   matmul_serial<T>(c.kernels(), m, n, k, {a, a_row}, {b, b_row}, {y, y_row});           // y = a b
//   matmul_serial<T>(c.kernels(), m, n, k, transposed<T>({a, a_row}), {b, b_row}, {y, y_row}, true);    // y += a^T b
#pragma once

#include <attn/sdk/operator.hpp>

namespace attn::sdk {

// Element (i, j) is data[i * row + j * column].
template <class T>
struct Matrix {
  T* data;
  int64_t row, column = 1;
};
template <class T>
Matrix<const T> transposed(std::type_identity_t<Matrix<const T>> x) {
  return {x.data, x.column, x.row};
}

// y (m, n) = a (m, k) b (k, n), added to y when `accumulate`. T: float, double. a: any strides; b: best with column 1;
// y: column 1, and no memory of the others. Element by element, products are added in the order of k to y or 0: cutting
// a product changes nothing. [any-thread]
template <class T>
void matmul_serial(const attn_kernels& kernels, int64_t m, int64_t n, int64_t k,
                   std::type_identity_t<Matrix<const T>> a, std::type_identity_t<Matrix<const T>> b,
                   std::type_identity_t<Matrix<T>> y, bool accumulate = false) {
  const auto run = [&] {
    if constexpr (std::is_same_v<T, float>)
      return kernels.matmul_serial_f32;
    else
      return kernels.matmul_serial_f64;
  }();
  run(m, n, k, a.data, a.row, a.column, b.data, b.row, b.column, y.data, y.row, accumulate ? 1 : 0);
}

}  // namespace attn::sdk
