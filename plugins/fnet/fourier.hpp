// SPDX-License-Identifier: Apache-2.0
//
// The two operators of the type. Both compute, for every item of x (B, S, D),
//
//   y[k, l] = mask[k] c Re sum over s, f of x[s, f] w_S^(s k) w_D^(f l),   w_N = exp(-2 pi i / N)
//
// c = 1 / sqrt(S D) when `normalize`, else 1 (Lee-Thorp et al. 2021, section 3). mask (B or 1, S) has the kind of x
// and no gradient. The transform is symmetric as a map of (S, D) to itself, so that dx is the transform of
// mask dy. float32 and float64, any strides; scratch memory of the call, tables included. [any-thread]
//
//   fourier_fft      two passes of fast transforms, O(S D log(S D)) for every length, primes included
//   fourier_matrix   products with tables of cosines and sines, folded by their symmetry
#pragma once

#include <attn/sdk/operator.hpp>

namespace attn::fnet {

// What both have in common.
struct Fourier {
  static constexpr uint32_t version = 1, inputs = 2, outputs = 1, required = 0b01, constants = 0b10;
  static constexpr attn_param attributes[] = {sdk::bool_attribute("normalize", true)};
  static void shape(sdk::OpCall c);
};

struct FourierFft : Fourier {
  static constexpr const char* name = "fourier_fft";
  static constexpr const char* doc =
      "real part of the transform over the last two axes of x (B, S, D), by fast transforms; rows "
      "times mask (B, S)";
  template <class T>
  static void forward(sdk::OpCall c);
  template <class T>
  static void vjp(sdk::OpCall c);
  static attn_cost cost(sdk::OpCall c);
};

struct FourierMatrix : Fourier {
  static constexpr const char* name = "fourier_matrix";
  static constexpr const char* doc =
      "real part of the transform over the last two axes of x (B, S, D), by matrix products; rows "
      "times mask (B, S)";
  template <class T>
  static void forward(sdk::OpCall c);
  template <class T>
  static void vjp(sdk::OpCall c);
  static attn_cost cost(sdk::OpCall c);
};

// One run of either: y = rows_out A(rows_in x), or y += . Rows without factors have nullptr.
template <class T>
struct Job {
  int64_t batch, s, d;
  const T* x;  // elements of a row lie side by side
  int64_t x_item, x_row;
  T* y;
  int64_t y_item, y_row, y_column;
  const T *rows_in, *rows_out;  // (batch, s), dense
  T factor;
  bool accumulate;
  // The factor of row k of item b, before and after.
  [[nodiscard]] T in(int64_t b, int64_t k) const { return rows_in ? rows_in[b * s + k] : T(1); }
  [[nodiscard]] T out(int64_t b, int64_t k) const {
    return rows_out ? rows_out[b * s + k] * factor : factor;
  }
};

template <class T>
Job<T> forward_job(const sdk::OpCall& c);
template <class T>
Job<T> backward_job(const sdk::OpCall& c);

// Row k of item b of y from the values of row l, or those of the same row read backwards: y[k, (D - l) % D].
template <class T>
void put_row(const Job<T>& job, int64_t b, int64_t k, const T* values, bool backwards) {
  T* y = job.y + b * job.y_item + k * job.y_row;
  const T f = job.out(b, k);
  const int64_t d = job.d;
  const auto put = [&](int64_t l, T v) {
    T& to = y[l * job.y_column];
    to = job.accumulate ? to + f * v : f * v;
  };
  if (job.y_column == 1 && !job.accumulate) {
    if (backwards) {
      y[0] = f * values[0];
      for (int64_t l = 1; l < d; ++l) y[l] = f * values[d - l];
    } else {
      for (int64_t l = 0; l < d; ++l) y[l] = f * values[l];
    }
  } else if (backwards) {
    put(0, values[0]);
    for (int64_t l = 1; l < d; ++l) put(l, values[d - l]);
  } else {
    for (int64_t l = 0; l < d; ++l) put(l, values[l]);
  }
}

}  // namespace attn::fnet
