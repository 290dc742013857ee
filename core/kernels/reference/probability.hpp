// SPDX-License-Identifier: Apache-2.0
//
// Scores to weights for one row, and back: common-probability.md sections 4 and 5. Part of the scalar reference of
// attention; z may hold -infinity (masked), but not only that. [any-thread]
//
// Sparsemax: Martins, Astudillo 2016 (arXiv 1602.02068), algorithm 1. Adaptive temperature: Velickovic et al. 2024.
#pragma once

#include <cmath>
#include <cstdint>

#include "core/kernels/attention.hpp"

namespace attn::kernels::reference {

// What the backward pass needs beside z and w.
template <class T>
struct ProbabilityRow {
  T max, sum;  // of exp(z - max)
  T tau;       // sparsemax
  T gated;     // threshmax: sum of y, plus epsilon
  T temperature, temperature_slope, entropy;
};

template <class T>
T row_max(int64_t n, const T* z) {
  T max = z[0];
  for (int64_t j = 1; j < n; ++j) max = z[j] > max ? z[j] : max;
  return max;
}

// tau with sum of max(z - max - tau, 0) = 1: the set of entries above tau shrinks from all of them until it is stable.
// NaN among the scores: NaN.
template <class T>
T sparsemax_tau(int64_t n, const T* z, T max) {
  T tau = -1;
  for (;;) {
    T sum = 0;
    int64_t count = 0;
    for (int64_t j = 0; j < n; ++j) {
      if (z[j] - max <= tau) continue;
      sum += z[j] - max;
      ++count;
    }
    const T next = (sum - 1) / static_cast<T>(count);
    if (next <= tau) return tau;
    if (next != next) return next;
    tau = next;
  }
}

// The temperature by row.entropy, and its derivative: 0 where it does not move, also at the threshold. Where the
// polynomial is 0 or 1 it moves, but not at the 1 of the paper's form.
template <class T>
void set_temperature(const AttentionArgs<T>& a, ProbabilityRow<T>& row) {
  T value = 0, slope = 0;  // of the polynomial: one step of Horner's rule more for each coefficient
  for (int i = 0; i < a.polynomial_size; ++i) {
    slope = slope * row.entropy + value;
    value = value * row.entropy + a.polynomial[i];
  }
  const bool above = row.entropy > a.threshold;
  row.temperature = 1;
  row.temperature_slope = 0;
  if (a.kind == Probability::adaptive_paper) {
    if (!above || value <= 1) return;
    row.temperature = 1 / value;
    row.temperature_slope = -slope / (value * value);
    return;
  }
  const T range = a.max_temp - a.min_temp;
  if (above) {
    row.temperature = a.min_temp + range * (value < 0 ? T(0) : value > 1 ? T(1) : value);
    if (value >= 0 && value <= 1 && row.temperature >= a.eps) row.temperature_slope = range * slope;
  }
  if (row.temperature < a.eps) row.temperature = a.eps;
}

// Whether the entropy moves with a probability: clipped to [eps, 1 - eps] unless in the paper's form.
template <class T>
bool moves_entropy(const AttentionArgs<T>& a, T p) {
  return a.kind == Probability::adaptive_paper ? p > 0 : p >= a.eps && p <= 1 - a.eps;
}
template <class T>
T entropy_term(const AttentionArgs<T>& a, T p) {
  if (a.kind == Probability::adaptive) p = p < a.eps ? a.eps : p > 1 - a.eps ? 1 - a.eps : p;
  return p == 0 ? T(0) : -p * std::log(p);
}

template <class T>
ProbabilityRow<T> probability(const AttentionArgs<T>& a, int64_t n, const T* z, T* w) {
  ProbabilityRow<T> row{};
  row.max = row_max(n, z);
  if (a.kind == Probability::sparsemax) {
    row.tau = sparsemax_tau(n, z, row.max);
    for (int64_t j = 0; j < n; ++j)
      w[j] = z[j] - row.max <= row.tau ? T(0) : z[j] - row.max - row.tau;
    return row;
  }
  for (int64_t j = 0; j < n; ++j) {
    w[j] = std::exp(z[j] - row.max);
    row.sum += w[j];
  }
  for (int64_t j = 0; j < n; ++j) w[j] /= row.sum;
  if (a.kind == Probability::threshmax) {
    row.gated = a.epsilon;
    for (int64_t j = 0; j < n; ++j) {
      w[j] *= (std::tanh(a.slope * (w[j] - 1 / static_cast<T>(n))) + 1) / 2;
      row.gated += w[j];
    }
    for (int64_t j = 0; j < n; ++j) w[j] /= row.gated;
  }
  if (is_adaptive(a.kind)) {
    for (int64_t j = 0; j < n; ++j) row.entropy += entropy_term(a, w[j]);
    set_temperature(a, row);
    T sum = 0;
    for (int64_t j = 0; j < n; ++j) {
      w[j] = std::exp((z[j] - row.max) / row.temperature);
      sum += w[j];
    }
    for (int64_t j = 0; j < n; ++j) w[j] /= sum;
  }
  return row;
}

// dz from dw = the gradient of the weights. Returns the gradient of the slope. scratch: n elements.
template <class T>
T probability_backward(const AttentionArgs<T>& a, const ProbabilityRow<T>& row, int64_t n,
                       const T* z, const T* w, const T* dw, T* dz, T* scratch) {
  T dot = 0;
  for (int64_t j = 0; j < n; ++j) dot += dw[j] * w[j];
  switch (a.kind) {
    case Probability::softmax: {
      // A saturated row has gradients far below the rounding of dw: the mean is refined by what is left of 0.
      T rest = 0;
      for (int64_t j = 0; j < n; ++j) rest += w[j] * (dw[j] - dot);
      for (int64_t j = 0; j < n; ++j) dz[j] = w[j] * (dw[j] - dot - rest);
      return 0;
    }
    case Probability::sparsemax: {
      T sum = 0;
      int64_t count = 0;
      for (int64_t j = 0; j < n; ++j) {
        if (w[j] > 0) {
          sum += dw[j];
          ++count;
        }
      }
      for (int64_t j = 0; j < n; ++j) dz[j] = w[j] > 0 ? dw[j] - sum / static_cast<T>(count) : T(0);
      return 0;
    }
    case Probability::threshmax: {
      T* dp = scratch;
      T dslope = 0, mean = 0;
      for (int64_t j = 0; j < n; ++j) {
        const T p = std::exp(z[j] - row.max) / row.sum;
        const T d = p - 1 / static_cast<T>(n);
        const T t = std::tanh(a.slope * d);
        const T dy = (dw[j] - dot) / row.gated;
        dp[j] = dy * ((t + 1) / 2 + p * a.slope * (1 - t * t) / 2);
        dslope += dy * p * d * (1 - t * t) / 2;
        mean += p * dp[j];
      }
      for (int64_t j = 0; j < n; ++j) dz[j] = std::exp(z[j] - row.max) / row.sum * (dp[j] - mean);
      return dslope;
    }
    case Probability::adaptive:
    case Probability::adaptive_paper: {
      T* dp = scratch;
      const T temperature = row.temperature;
      T dtemperature = 0;
      for (int64_t j = 0; j < n; ++j) {
        const T du = w[j] * (dw[j] - dot);
        if (w[j] > 0) dtemperature -= du * (z[j] - row.max) / (temperature * temperature);
        dz[j] = du / temperature;
      }
      if (row.temperature_slope == 0) return 0;
      const T dentropy = dtemperature * row.temperature_slope;
      T mean = 0;
      for (int64_t j = 0; j < n; ++j) {
        const T p = std::exp(z[j] - row.max) / row.sum;
        dp[j] = moves_entropy(a, p) ? -dentropy * (std::log(p) + 1) : T(0);
        mean += p * dp[j];
      }
      for (int64_t j = 0; j < n; ++j) dz[j] += std::exp(z[j] - row.max) / row.sum * (dp[j] - mean);
      return 0;
    }
  }
  return 0;
}

}  // namespace attn::kernels::reference
