// SPDX-License-Identifier: Apache-2.0
//
// A tensor (..., columns) seen as a matrix: one stride for all leading axes where the layout has one, a dense
// copy in scratch memory where it has not.
#pragma once

#include "core/ops/op.hpp"
#include "core/tensor/strided.hpp"

namespace attn::ops {

template <class T>
struct Matrix {
  T* data;
  int64_t rows, columns;
  int64_t row, col;  // strides
};

// True when the leading axes of v step through memory evenly; then *step is the stride of a row.
inline bool even_rows(const attn_view& v, int64_t* step) {
  int64_t expected = 0;
  *step = 0;
  for (int i = v.rank - 2; i >= 0; --i) {
    if (v.shape[i] == 1) continue;
    if (*step == 0)
      *step = v.stride[i];
    else if (v.stride[i] != expected)
      return false;
    expected = v.stride[i] * v.shape[i];
  }
  return true;
}

// For reading.
template <class T>
Matrix<const T> matrix_of(const OpCall& c, const attn_view& v) {
  const int64_t columns = v.shape[v.rank - 1];
  const int64_t rows = columns ? size_of(v) / columns : 0;
  int64_t step = 0;
  if (even_rows(v, &step))
    return {data<const T>(v), rows, columns, step ? step : columns, v.stride[v.rank - 1]};
  attn_view dense = v;
  dense.data = c.scratch_array<T>(static_cast<size_t>(rows * columns));
  set_dense_strides(dense);
  copy_strided(v, dense);
  return {data<const T>(dense), rows, columns, columns, 1};
}

// For adding to: rows with contiguous elements, or a zeroed matrix in scratch that finish_sum() adds afterwards.
template <class T>
Matrix<T> sum_matrix_of(const OpCall& c, const attn_view& v, bool* direct) {
  const int64_t columns = v.shape[v.rank - 1];
  const int64_t rows = columns ? size_of(v) / columns : 0;
  int64_t step = 0;
  *direct = even_rows(v, &step) && (v.stride[v.rank - 1] == 1 || columns == 1);
  if (*direct) return {data<T>(v), rows, columns, step ? step : columns, 1};
  T* zeros = c.scratch_array<T>(static_cast<size_t>(rows * columns));
  for (int64_t i = 0; i < rows * columns; ++i) zeros[i] = T(0);
  return {zeros, rows, columns, columns, 1};
}
template <class T>
void finish_sum(const Matrix<T>& m, const attn_view& v, bool direct) {
  if (direct) return;
  attn_view from = v;
  from.data = m.data;
  set_dense_strides(from);
  add_strided(from, v);
}

}  // namespace attn::ops
