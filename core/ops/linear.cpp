// SPDX-License-Identifier: Apache-2.0
//
// y = x W + b over the last axis. While nothing is recorded, a weight's packed copy is kept from call to call.
#include "core/kernels/compact.hpp"
#include "core/kernels/gemm.hpp"
#include "core/ops/check.hpp"
#include "core/ops/matrix_view.hpp"
#include "core/ops/ops.hpp"

namespace attn::ops {
namespace {

constexpr int64_t kColumnsOfATask = 64;  // of the bias gradient

struct linear {
  static constexpr const char* name = "linear";
  static constexpr const char* doc = "x W + b over the last axis";
  static constexpr uint32_t version = 1, inputs = 3, outputs = 1, required = 0b011;

  static void shape(OpCall c) {
    const attn_view &x = *c.in(0), &w = *c.in(1);
    check_number(c, 0, "x");
    check_number(c, 1, "W");
    if (x.rank < 1) fail("x is a scalar; expected at least one axis");
    if (w.rank != 2) fail("W has shape {}; expected (in, out)", shape_text(w));
    if (x.shape[x.rank - 1] != w.shape[0])
      fail("last extent {} of x does not match the {} rows of W", x.shape[x.rank - 1], w.shape[0]);
    check_bias(c, w.shape[1]);
    int64_t out[ATTN_MAX_RANK];
    for (int i = 0; i < x.rank; ++i) out[i] = x.shape[i];
    out[x.rank - 1] = w.shape[1];
    c.out_shape(0, x.dtype, {out, static_cast<size_t>(x.rank)});
  }

  template <class T>
  static void forward(OpCall c) {
    const attn_view& w = *c.in(1);
    const Matrix<const T> x = matrix_of<T>(c, *c.in(0));
    kernels::GemmOf<T> g{x.rows,    w.shape[1],       w.shape[0],  x.data,      x.row,
                         x.col,     data<const T>(w), w.stride[0], w.stride[1], data<T>(*c.out(0)),
                         w.shape[1]};
    if (c.in(2)) g.bias = contiguous_bias<T>(c, *c.in(2));
    if constexpr (sizeof(T) == sizeof(float)) {
      const PackedWeight packed = packed_weight(c);
      if (packed.kind != StorageKind::float32)
        return kernels::gemm(kernels::CompactGemm{packed.kind, g.m, g.n, g.k, g.a, g.a_row, g.a_col,
                                                  packed.panels, g.c, g.c_row, g.bias},
                             parallel(c));
      g.packed = static_cast<const float*>(packed.panels);
      g.pairs = packed.pairs;
    }
    kernels::gemm(g, parallel(c));
  }

  template <class T>
  static void vjp(OpCall c) {
    const attn_view& w = *c.in(1);
    const Matrix<const T> x = matrix_of<T>(c, *c.in(0));
    const Matrix<const T> dy = matrix_of<T>(c, *c.dout(0));
    const int64_t k = w.shape[0], n = w.shape[1];
    if (attn_view* dx = c.din(0)) {
      bool direct = false;
      const Matrix<T> to = sum_matrix_of<T>(c, *dx, &direct);
      kernels::gemm(kernels::GemmOf<T>{x.rows, k, n, dy.data, dy.row, dy.col, data<const T>(w),
                                       w.stride[1], w.stride[0], to.data, to.row, 1, true},
                    parallel(c));
      finish_sum(to, *dx, direct);
    }
    if (attn_view* dw = c.din(1)) {
      bool direct = false;
      const Matrix<T> to = sum_matrix_of<T>(c, *dw, &direct);
      kernels::gemm(kernels::GemmOf<T>{k, n, x.rows, x.data, x.col, x.row, dy.data, dy.row, dy.col,
                                       to.data, to.row, 1, true},
                    parallel(c));
      finish_sum(to, *dw, direct);
    }
    if (attn_view* db = c.din(2)) {
      T* out = data<T>(*db);
      parallel(c).loop(n, kColumnsOfATask, [&](int64_t begin, int64_t end, int) {
        T sums[kColumnsOfATask] = {};
        for (int64_t r = 0; r < dy.rows; ++r) {
          const T* row = dy.data + r * dy.row;
          for (int64_t j = begin; j < end; ++j) sums[j - begin] += row[j * dy.col];
        }
        for (int64_t j = begin; j < end; ++j) out[j * db->stride[0]] += sums[j - begin];
      });
    }
  }

  static attn_cost cost(OpCall c) {
    const double rows =
        static_cast<double>(size_of(*c.in(0)) / std::max<int64_t>(1, c.in(1)->shape[0]));
    const double k = static_cast<double>(c.in(1)->shape[0]),
                 n = static_cast<double>(c.in(1)->shape[1]);
    const double element = c.element_size();
    const PackedWeight packed = packed_weight(c);
    const double weight = packed.pairs != nullptr ? 2 * k * n
                          : packed.kind == StorageKind::float32
                              ? element * k * n
                              : static_cast<double>(kernels::compact_size(
                                    packed.kind, c.in(1)->shape[0], c.in(1)->shape[1]));
    return {sizeof(attn_cost), 0, 2 * rows * k * n, element * rows * (k + n) + weight};
  }

 private:
  static PackedWeight packed_weight(const OpCall& c) {
    const attn_ctx* ctx = c.raw().ctx;
    const bool kept = ctx && ctx->packed_weight && c.in(1)->dtype == ATTN_F32 && !c.recording();
    return kept ? ctx->packed_weight(c.raw().ctx, c.raw().in[1]) : PackedWeight{};
  }
  template <class T>
  static const T* contiguous_bias(const OpCall& c, const attn_view& b) {
    if (b.stride[0] == 1 || b.shape[0] == 1) return data<const T>(b);
    T* copy = c.scratch_array<T>(static_cast<size_t>(b.shape[0]));
    for (int64_t i = 0; i < b.shape[0]; ++i) copy[i] = data<const T>(b)[i * b.stride[0]];
    return copy;
  }
};

}  // namespace

const attn_op& op_linear() { return operator_table<linear>; }

}  // namespace attn::ops
