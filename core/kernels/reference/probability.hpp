// SPDX-License-Identifier: Apache-2.0
//
// Scores to weights for one row, and back: common-probability.md sections 4 and 5. Part of the scalar reference of
// attention; z may hold -infinity (masked), but not only that. A Formula for each kind of attn/sdk/probability.hpp.
// [any-thread]
//
// Sparsemax: Martins, Astudillo 2016 (arXiv 1602.02068), algorithm 1. Adaptive temperature: Velickovic et al. 2024.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

#include "core/kernels/probability.hpp"

namespace attn::kernels::reference {

// What the backward pass needs beside z and w.
template <class T>
struct ProbabilityRow {
  T max = 0, sum = 0;  // of exp(z - max), the sink included
  T sink = 0;          // its weight
  T dlse = 0;          // softmax: gradient of max + ln(sum), given to the backward pass
  T gated = 0;         // threshmax: sum of y, plus epsilon
  T temperature = 1, temperature_slope = 0;
};

template <class T>
T row_max(int64_t n, const T* z) {
  T max = z[0];
  for (int64_t j = 1; j < n; ++j) max = z[j] > max ? z[j] : max;
  return max;
}

// w = softmax((z - max) / temperature); returns the sum that was divided by, which begins with `sum`.
template <class T>
T softmax_of(int64_t n, const T* z, T max, T temperature, T* w, T sum = 0) {
  for (int64_t j = 0; j < n; ++j) {
    w[j] = std::exp((z[j] - max) / temperature);
    sum += w[j];
  }
  for (int64_t j = 0; j < n; ++j) w[j] /= sum;
  return sum;
}
template <class T>
T softmax_at(const ProbabilityRow<T>& row, T z) {
  return std::exp(z - row.max) / row.sum;
}

// forward: w from z, and what of the row the gradient needs. backward: dz from dw, the gradient of the weights, and dot
// = sum dw w; returns the gradient of the slope. scratch: n elements.
template <Probability kind>
struct Formula;

template <>
struct Formula<Probability::softmax> {
  template <class T>
  static void forward(const ProbabilityArgs<T>&, int64_t n, const T* z, T* w,
                      ProbabilityRow<T>& row) {
    row.sum = softmax_of(n, z, row.max, T(1), w, row.sink);
    row.sink /= row.sum;
  }
  // w = p: dz = w (dw - w . dw). A saturated row has gradients far below the rounding of dw: the mean is refined by
  // what is left of 0. The weight of a sink has a gradient of 0.
  template <class T>
  static T backward(const ProbabilityArgs<T>&, const ProbabilityRow<T>& row, int64_t n, const T*,
                    const T* w, const T* dw, T dot, T* dz, T*) {
    T rest = (row.sink == 0 ? T(0) : -row.sink * dot) - row.dlse;
    for (int64_t j = 0; j < n; ++j) rest += w[j] * (dw[j] - dot);
    for (int64_t j = 0; j < n; ++j) dz[j] = w[j] * (dw[j] - dot - rest);
    return 0;
  }
};

template <>
struct Formula<Probability::sparsemax> {
  // w = max(z - max - tau, 0).
  template <class T>
  static void forward(const ProbabilityArgs<T>&, int64_t n, const T* z, T* w,
                      ProbabilityRow<T>& row) {
    const T tau = threshold(n, z, row.max);
    for (int64_t j = 0; j < n; ++j) w[j] = z[j] - row.max <= tau ? T(0) : z[j] - row.max - tau;
  }
  // dtau = the mean of dz over the support.
  template <class T>
  static T backward(const ProbabilityArgs<T>&, const ProbabilityRow<T>&, int64_t n, const T*,
                    const T* w, const T* dw, T, T* dz, T*) {
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

 private:
  // tau with sum of max(z - max - tau, 0) = 1: the set of entries above tau shrinks from all of them until it is
  // stable. NaN among the scores: NaN.
  template <class T>
  static T threshold(int64_t n, const T* z, T max) {
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
};

template <>
struct Formula<Probability::threshmax> {
  // p = softmax(z), y = p (tanh(slope (p - 1/n)) + 1) / 2, w = y / (sum y + epsilon).
  template <class T>
  static void forward(const ProbabilityArgs<T>& a, int64_t n, const T* z, T* w,
                      ProbabilityRow<T>& row) {
    row.sum = softmax_of(n, z, row.max, T(1), w);
    row.gated = a.epsilon;
    for (int64_t j = 0; j < n; ++j) {
      w[j] *= (std::tanh(a.slope * (w[j] - 1 / static_cast<T>(n))) + 1) / 2;
      row.gated += w[j];
    }
    for (int64_t j = 0; j < n; ++j) w[j] /= row.gated;
  }
  template <class T>
  static T backward(const ProbabilityArgs<T>& a, const ProbabilityRow<T>& row, int64_t n,
                    const T* z, const T*, const T* dw, T dot, T* dz, T* dp) {
    T dslope = 0, mean = 0;
    for (int64_t j = 0; j < n; ++j) {
      const T p = softmax_at(row, z[j]);
      const T d = p - 1 / static_cast<T>(n);
      const T t = std::tanh(a.slope * d);
      const T dy = (dw[j] - dot) / row.gated;
      dp[j] = dy * ((t + 1) / 2 + p * a.slope * (1 - t * t) / 2);
      dslope += dy * p * d * (1 - t * t) / 2;
      mean += p * dp[j];
    }
    for (int64_t j = 0; j < n; ++j) dz[j] = softmax_at(row, z[j]) * (dp[j] - mean);
    return dslope;
  }
};

// Both forms: the entropy is of probabilities clipped to [epsilon, 1 - epsilon] unless in the paper's form.
template <Probability kind>
struct AdaptiveFormula {
  static constexpr bool kClips = kind == Probability::adaptive;

  // p = softmax(z), H = -sum p ln p, w = softmax(z / temperature(H)).
  template <class T>
  static void forward(const ProbabilityArgs<T>& a, int64_t n, const T* z, T* w,
                      ProbabilityRow<T>& row) {
    row.sum = softmax_of(n, z, row.max, T(1), w);
    T entropy = 0;
    for (int64_t j = 0; j < n; ++j) {
      const T p = !kClips                ? w[j]
                  : w[j] < a.epsilon     ? a.epsilon
                  : w[j] > 1 - a.epsilon ? 1 - a.epsilon
                                         : w[j];
      entropy += p == 0 ? T(0) : -p * std::log(p);
    }
    set_temperature(a, entropy, row);
    softmax_of(n, z, row.max, row.temperature, w);
  }
  // du, of z / temperature, is that of softmax; dtemperature goes on through H to p, and from p to z.
  template <class T>
  static T backward(const ProbabilityArgs<T>& a, const ProbabilityRow<T>& row, int64_t n,
                    const T* z, const T* w, const T* dw, T dot, T* dz, T* dp) {
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
      const T p = softmax_at(row, z[j]);
      const bool moves = kClips ? p >= a.epsilon && p <= 1 - a.epsilon : p > 0;
      dp[j] = moves ? -dentropy * (std::log(p) + 1) : T(0);
      mean += p * dp[j];
    }
    for (int64_t j = 0; j < n; ++j) dz[j] += softmax_at(row, z[j]) * (dp[j] - mean);
    return 0;
  }

 private:
  // The temperature by the entropy, and its derivative: 0 where it does not move, also at the threshold. Where the
  // polynomial is 0 or 1 it moves, but not at the 1 of the paper's form.
  template <class T>
  static void set_temperature(const ProbabilityArgs<T>& a, T entropy, ProbabilityRow<T>& row) {
    T value = 0,
      slope = 0;  // of the polynomial: one step of Horner's rule more for each coefficient
    for (int i = 0; i < a.polynomial_size; ++i) {
      slope = slope * entropy + value;
      value = value * entropy + a.polynomial[i];
    }
    const bool above = entropy > a.threshold;
    if constexpr (!kClips) {
      if (!above || value <= 1) return;
      row.temperature = 1 / value;
      row.temperature_slope = -slope / (value * value);
    } else {
      const T range = a.max_temp - a.min_temp;
      if (above) {
        row.temperature = a.min_temp + range * (value < 0 ? T(0) : value > 1 ? T(1) : value);
        if (value >= 0 && value <= 1 && row.temperature >= a.epsilon)
          row.temperature_slope = range * slope;
      }
      if (row.temperature < a.epsilon) row.temperature = a.epsilon;
    }
  }
};
template <>
struct Formula<Probability::adaptive> : AdaptiveFormula<Probability::adaptive> {};
template <>
struct Formula<Probability::adaptive_paper> : AdaptiveFormula<Probability::adaptive_paper> {};

// sink: softmax only; -infinity: none.
template <class T>
ProbabilityRow<T> probability(const ProbabilityArgs<T>& a, int64_t n, const T* z, T* w,
                              T sink = -std::numeric_limits<T>::infinity()) {
  ProbabilityRow<T> row{.max = row_max(n, z)};
  if (sink != -std::numeric_limits<T>::infinity()) {
    row.max = sink <= row.max ? row.max : sink;  // NaN too
    row.sink = std::exp(sink - row.max);
  }
  switch (a.kind) {
#define ATTN_ROW(kind, ...)                                           \
  case Probability::kind:                                             \
    Formula<Probability::kind>::template forward<T>(a, n, z, w, row); \
    break;
    ATTN_PROBABILITIES(ATTN_ROW)
#undef ATTN_ROW
  }
  return row;
}

// dz from dw = the gradient of the weights. Returns the gradient of the slope. scratch: n elements.
template <class T>
T probability_backward(const ProbabilityArgs<T>& a, const ProbabilityRow<T>& row, int64_t n,
                       const T* z, const T* w, const T* dw, T* dz, T* scratch) {
  T dot = 0;
  for (int64_t j = 0; j < n; ++j) dot += dw[j] * w[j];
  dot -= row.dlse;
  switch (a.kind) {
#define ATTN_ROW(kind, ...) \
  case Probability::kind:   \
    return Formula<Probability::kind>::template backward<T>(a, row, n, z, w, dw, dot, dz, scratch);
    ATTN_PROBABILITIES(ATTN_ROW)
#undef ATTN_ROW
  }
  return 0;
}

}  // namespace attn::kernels::reference
