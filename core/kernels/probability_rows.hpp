// SPDX-License-Identifier: Apache-2.0
//
// Scores of single rows to weights and back: what the operators probability and activation and attn_kernels call. The
// formulas are those of reference/probability.hpp; softmax in float has vector kernels. A row whose scores are all
// -infinity counts as all zeros. [any-thread]
#pragma once

#include <algorithm>
#include <limits>

#include "core/kernels/reference/probability.hpp"
#include "core/kernels/table.hpp"

namespace attn::kernels {

template <class T>
class ProbabilityRows {
 public:
  explicit ProbabilityRows(const ProbabilityOptions& options)
      : args_(options),
        vectors_(sizeof(T) == sizeof(float) && use_kernels() &&
                 options.kind == Probability::softmax) {}

  // w from z, of rows of n >= 1; z may hold -infinity.
  void forward(int64_t rows, int64_t n, const T* z, int64_t z_row, T* w, int64_t w_row) const {
    if constexpr (sizeof(T) == sizeof(float)) {
      if (vectors_) return table().softmax_rows(rows, n, z, z_row, w, w_row);
    }
    for (; rows > 0; --rows, z += z_row, w += w_row) {
      const bool none = fully_masked(n, z);
      if (none) std::fill_n(w, n, T(0));
      (void)reference::probability(args_, n, none ? w : z, w);
    }
  }
  // dz (written) of one row from dw; scratch: 3 n elements. Returns the gradient of the slope.
  double backward(int64_t n, const T* z, const T* dw, T* dz, T* scratch) const {
    T *w = scratch, *zeros = scratch + n, *rest = scratch + 2 * n;
    if constexpr (sizeof(T) == sizeof(float)) {
      if (vectors_) {
        table().softmax_rows(1, n, z, 0, w, 0);
        table().softmax_row_vjp(n, w, dw, dz);
        return 0;
      }
    }
    if (fully_masked(n, z)) {
      std::fill_n(zeros, n, T(0));
      z = zeros;
    }
    const auto row = reference::probability(args_, n, z, w);
    return static_cast<double>(reference::probability_backward(args_, row, n, z, w, dw, dz, rest));
  }
  // Softmax in float: many rows at once are faster.
  [[nodiscard]] bool vectors() const { return vectors_; }

 private:
  static bool fully_masked(int64_t n, const T* z) {
    for (int64_t i = 0; i < n; ++i)
      if (!(z[i] == -std::numeric_limits<T>::infinity())) return false;
    return true;
  }
  ProbabilityArgs<T> args_;
  bool vectors_;
};

}  // namespace attn::kernels
