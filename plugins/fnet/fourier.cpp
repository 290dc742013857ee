// SPDX-License-Identifier: Apache-2.0
#include "fourier.hpp"

#include <cmath>

namespace attn::fnet {

using namespace attn::sdk;

void Fourier::shape(OpCall c) {
  const attn_view& x = *c.in(0);
  if (x.dtype != ATTN_F32 && x.dtype != ATTN_F64)
    fail("x has another element kind than float32 or float64; convert it first");
  if (x.rank != 3) fail("x has shape %s; expected (batch, seq, dim)", shape_text(x).c_str());
  if (const attn_view* mask = c.in(1)) {
    if (mask->dtype != x.dtype) fail("mask has another element kind than x; convert it first");
    if (mask->rank != 2 || (mask->shape[0] != x.shape[0] && mask->shape[0] != 1) ||
        mask->shape[1] != x.shape[1])
      fail("mask has shape %s; expected (%lld, %lld)", shape_text(*mask).c_str(),
           static_cast<long long>(x.shape[0]), static_cast<long long>(x.shape[1]));
  }
  c.out_like(0, x);
}

namespace {

// A copy whose rows are contiguous, unless they are already.
template <class T>
attn_view with_rows(const OpCall& c, const attn_view& v) {
  if (v.stride[2] == 1 || v.shape[2] <= 1) return v;
  attn_view to = v;
  set_dense_strides(to);
  to.data = c.scratch_array<T>(static_cast<size_t>(size_of(v)) + 1);
  c.loop(v.shape[0] * v.shape[1], 64, [&](int64_t begin, int64_t end, int) {
    for (int64_t row = begin; row < end; ++row) {
      const T* from =
          data<const T>(v) + row / v.shape[1] * v.stride[0] + row % v.shape[1] * v.stride[1];
      for (int64_t i = 0; i < v.shape[2]; ++i)
        data<T>(to)[row * v.shape[2] + i] = from[i * v.stride[2]];
    }
  });
  return to;
}

template <class T>
const T* row_factors(const OpCall& c) {
  const attn_view* mask = c.in(1);
  if (!mask) return nullptr;
  const int64_t batch = c.in(0)->shape[0], s = c.in(0)->shape[1];
  T* rows = c.scratch_array<T>(static_cast<size_t>(batch * s) + 1);
  for (int64_t i = 0; i < batch * s; ++i) {
    const int64_t item = mask->shape[0] == 1 ? 0 : i / s;
    rows[i] = data<const T>(*mask)[item * mask->stride[0] + i % s * mask->stride[1]];
  }
  return rows;
}

template <class T>
Job<T> job_of(const OpCall& c, const attn_view& from, const attn_view& to) {
  const attn_view x = with_rows<T>(c, from);
  Job<T> job{};
  job.batch = x.shape[0], job.s = x.shape[1], job.d = x.shape[2];
  job.x = data<const T>(x), job.x_item = x.stride[0], job.x_row = x.stride[1];
  job.y = data<T>(to), job.y_item = to.stride[0], job.y_row = to.stride[1];
  job.y_column = to.stride[2];
  const double size = static_cast<double>(job.s) * static_cast<double>(job.d);
  job.factor = static_cast<T>(c.flag(0) ? 1 / std::sqrt(size) : 1.0);
  return job;
}

}  // namespace

template <class T>
Job<T> forward_job(const OpCall& c) {
  Job<T> job = job_of<T>(c, *c.in(0), *c.out(0));
  job.rows_out = row_factors<T>(c);
  return job;
}
template <class T>
Job<T> backward_job(const OpCall& c) {
  Job<T> job = job_of<T>(c, *c.dout(0), *c.din(0));
  job.rows_in = row_factors<T>(c);
  job.accumulate = true;
  return job;
}

template Job<float> forward_job(const OpCall&);
template Job<double> forward_job(const OpCall&);
template Job<float> backward_job(const OpCall&);
template Job<double> backward_job(const OpCall&);

}  // namespace attn::fnet
