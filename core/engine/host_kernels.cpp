// SPDX-License-Identifier: Apache-2.0
#include "core/engine/host_kernels.hpp"

#include <attn/sdk/operator.hpp>

#include <algorithm>
#include <cmath>

#include "core/kernels/gemm.hpp"
#include "core/kernels/probability_rows.hpp"
#include "core/kernels/table.hpp"
#include "core/threads/ctx.hpp"

namespace attn::engine {

namespace {

void matmul(attn_ctx* ctx, int64_t batch, int64_t m, int64_t n, int64_t k, float alpha,
            const float* a, int64_t a_batch, int64_t a_row, int64_t a_col, const float* b,
            int64_t b_batch, int64_t b_row, int64_t b_col, float* c, int64_t c_batch, int64_t c_row,
            int32_t accumulate) {
  kernels::gemm(kernels::Gemm{m, n, k, a, a_row, a_col, b, b_row, b_col, c, c_row, alpha,
                              accumulate != 0, batch, a_batch, b_batch, c_batch},
                *ctx->parallel);
}

void exp_of(int64_t n, const float* x, float* y) {
  if (kernels::use_kernels()) return kernels::table().exp_line(n, x, y);
  for (int64_t i = 0; i < n; ++i) y[i] = std::exp(x[i]);
}

void softmax(int64_t rows, int64_t cols, float* x, int64_t row) {
  if (cols == 0) return;
  if (kernels::use_kernels()) return kernels::table().softmax_rows(rows, cols, x, row, x, row);
  for (int64_t r = 0; r < rows; ++r) {
    float* p = x + r * row;
    const float top = *std::max_element(p, p + cols), shift = top == -INFINITY ? 0.0f : top;
    double sum = 0;
    for (int64_t j = 0; j < cols; ++j) {
      p[j] = std::exp(p[j] - shift);
      sum += static_cast<double>(p[j]);
    }
    if (sum == 0) {  // -infinity and nothing else: as if zeros
      std::fill_n(p, cols, 1.0f);
      sum = static_cast<double>(cols);
    }
    for (int64_t j = 0; j < cols; ++j) p[j] = static_cast<float>(static_cast<double>(p[j]) / sum);
  }
}

void log_sum_exp(int64_t rows, int64_t cols, const float* x, int64_t row, float* out) {
  if (kernels::use_kernels()) return kernels::table().log_sum_exp_rows(rows, cols, x, row, out);
  for (int64_t r = 0; r < rows; ++r) {
    const float* p = x + r * row;
    const float top = cols ? *std::max_element(p, p + cols) : -INFINITY;
    const float shift = top == -INFINITY ? 0.0f : top;  // then the sum is 0, and its logarithm top
    double sum = 0;
    for (int64_t j = 0; j < cols; ++j) sum += std::exp(static_cast<double>(p[j] - shift));
    out[r] = top + static_cast<float>(std::log(sum));
  }
}

double sum_of(int64_t n, const float* x) {
  if (kernels::use_kernels()) return kernels::table().sum_line(n, x);
  double s = 0;
  for (int64_t i = 0; i < n; ++i) s += static_cast<double>(x[i]);
  return s;
}

double dot(int64_t n, const float* x, const float* y) {
  if (kernels::use_kernels()) return kernels::table().dot_line(n, x, y);
  double s = 0;
  for (int64_t i = 0; i < n; ++i) s += static_cast<double>(x[i]) * static_cast<double>(y[i]);
  return s;
}

void sort(int64_t n, float* x, int32_t descending) {
  if (descending)
    std::sort(x, x + n, std::greater<>());
  else
    std::sort(x, x + n);
}

// As the kernels do it: each element of c, then its products added in order.
template <class T>
void matmul_serial(int64_t m, int64_t n, int64_t k, const T* a, int64_t a_row, int64_t a_col,
                   const T* b, int64_t b_row, int64_t b_col, T* c, int64_t c_row,
                   int32_t accumulate) {
  if (kernels::use_kernels()) {
    if constexpr (sizeof(T) == sizeof(float))
      return kernels::table().matmul_serial_f32(m, n, k, a, a_row, a_col, b, b_row, b_col, c, c_row,
                                                accumulate);
    else
      return kernels::table().matmul_serial_f64(m, n, k, a, a_row, a_col, b, b_row, b_col, c, c_row,
                                                accumulate);
  }
  for (int64_t i = 0; i < m; ++i) {
    T* row = c + i * c_row;
    if (!accumulate) std::fill_n(row, n, T(0));
    for (int64_t p = 0; p < k; ++p) {
      const T x = a[i * a_row + p * a_col];
      for (int64_t j = 0; j < n; ++j) row[j] += x * b[p * b_row + j * b_col];
    }
  }
}

// f(number type, rows of it).
template <class F>
auto with_rows(const attn_value* attrs, double slope, int32_t dtype, F&& f) {
  const ProbabilityOptions options = sdk::probability_options(attrs, slope);
  return dtype == ATTN_F64 ? f(double{}, kernels::ProbabilityRows<double>(options))
                           : f(float{}, kernels::ProbabilityRows<float>(options));
}

void probability_rows(const attn_value* attrs, double slope, int32_t dtype, int64_t rows, int64_t n,
                      const void* z, int64_t z_row, void* w, int64_t w_row) {
  with_rows(attrs, slope, dtype, [&](auto zero, const auto& of) {
    using T = decltype(zero);
    of.forward(rows, n, static_cast<const T*>(z), z_row, static_cast<T*>(w), w_row);
  });
}

double probability_row_vjp(const attn_value* attrs, double slope, int32_t dtype, int64_t n,
                           const void* z, const void* dw, void* dz, void* scratch) {
  return with_rows(attrs, slope, dtype, [&](auto zero, const auto& of) {
    using T = decltype(zero);
    return of.backward(n, static_cast<const T*>(z), static_cast<const T*>(dw), static_cast<T*>(dz),
                       static_cast<T*>(scratch));
  });
}

}  // namespace

const attn_kernels kHostKernels = {sizeof(attn_kernels),
                                   0,
                                   matmul,
                                   exp_of,
                                   softmax,
                                   log_sum_exp,
                                   sum_of,
                                   dot,
                                   sort,
                                   matmul_serial<float>,
                                   matmul_serial<double>,
                                   probability_rows,
                                   probability_row_vjp};

}  // namespace attn::engine
