// SPDX-License-Identifier: Apache-2.0
//
// Scores of one whole row to weights, and back: common-probability.md sections 4 and 5 in vectors. `s` spans
// [span.first, span.last), relative to key 0; keys of the span outside [row.begin, row.end) end up with weight 0.
#pragma once

#include "core/kernels/attention_scores.inl.hpp"

namespace attn::kernels::simd {

template <class Arch, class F>
ATTN_INLINE void for_span(const Span& span, F&& f) {
  for (int64_t j = span.first; j < span.last; j += kWidth<Arch>) f(j);
}

template <class Arch>
ATTN_INLINE void scale_span(const Span& span, float* s, float factor) {
  const Vec<Arch> x(factor);
  for_span<Arch>(span, [&](int64_t j) { store<Arch>(s + j, load<Arch>(s + j) * x); });
}

// Sparsemax: tau with sum of max(s - max - tau, 0) = 1. The set of entries above tau shrinks until it is stable
// (Michelot 1986; the same set as Martins, Astudillo 2016, algorithm 1). It starts at those above -1: tau is not
// less. NaN among the scores: NaN.
template <class Arch>
ATTN_INLINE float sparsemax_tau(const Span& span, const float* s, float max) {
  using V = Vec<Arch>;
  float tau = -1.0f;
  for (;;) {
    V sum(0.0f), count(0.0f);
    const V m(max), t(tau), one(1.0f), zero(0.0f);
    for_span<Arch>(span, [&](int64_t j) {
      const V x = load<Arch>(s + j) - m;
      const auto out = x <= t;  // NaN is not
      sum += xsimd::select(out, zero, x);
      count += xsimd::select(out, zero, one);
    });
    const float next = (sum_lanes<Arch>(sum) - 1.0f) / sum_lanes<Arch>(count);
    if (next <= tau) return tau;
    if (next != next) return next;
    tau = next;
  }
}

// 1 / (1 + e^(-2 slope d)) = (tanh(slope d) + 1) / 2, the gate of threshmax.
template <class Arch>
ATTN_INLINE Vec<Arch> gate(Vec<Arch> d, float slope) {
  using V = Vec<Arch>;
  const V x = d * V(-2.0f * slope * kLog2e);
  return V(1.0f) / (V(1.0f) + exp2_softmax<Arch>(min_of<Arch>(V(126.0f), x)));
}

// Temperature of a row by the entropy of its softmax, and its derivative: 0 where it does not move, also at the
// threshold. Where the polynomial is 0 or 1 it moves, but not at the 1 of the paper's form.
struct Temperature {
  float value, slope;
};
template <class Arch>
ATTN_INLINE Temperature adaptive_temperature(const AttentionRule& rule, float entropy) {
  float value = 0, slope = 0;  // of the polynomial
  for (int i = 0; i < rule.polynomial_size; ++i) {
    slope = slope * entropy + value;
    value = value * entropy + rule.polynomial[i];
  }
  const bool above = entropy > rule.threshold;
  if (rule.kind == Probability::adaptive_paper) {
    if (!above || value <= 1) return {1, 0};
    return {1 / value, -slope / (value * value)};
  }
  const float range = rule.max_temp - rule.min_temp;
  Temperature t{1, 0};
  if (above) {
    t.value = rule.min_temp + range * (value < 0 ? 0.0f : value > 1 ? 1.0f : value);
    if (value >= 0 && value <= 1 && t.value >= rule.eps) t.slope = range * slope;
  }
  if (t.value < rule.eps) t.value = rule.eps;
  return t;
}

// -sum p ln p; what has no weight counts for nothing.
template <class Arch>
ATTN_INLINE float plain_entropy(const AttentionRule& rule, const Span& span, const float* s,
                                float max, float sum) {
  using V = Vec<Arch>;
  const V m(max), u(rule.unit), low(-127.0f);  // 2^low is 0 in exp2_softmax
  V total(0.0f);
  for_span<Arch>(span, [&](int64_t j) {
    const V t = max_of<Arch>(low, (load<Arch>(s + j) - m) * u);
    total = fma<Arch>(exp2_softmax<Arch>(t), t, total);
  });
  return __builtin_logf(sum) - kLn2 * sum_lanes<Arch>(total) / sum;
}

// The same with every probability clipped to [eps, 1 - eps]. Visible keys outside the span count as eps.
template <class Arch>
ATTN_INLINE float entropy(const AttentionRule& rule, const AttentionRow& row, const Span& span,
                          const float* s, float max, float sum) {
  using V = Vec<Arch>;
  if (rule.kind == Probability::adaptive_paper) return plain_entropy<Arch>(rule, span, s, max, sum);
  const float low = __builtin_logf(rule.eps), high = __builtin_logf(1.0f - rule.eps);
  const V m(max), u(rule.unit), ln2(kLn2), inverse(1.0f / sum), log_sum(__builtin_logf(sum));
  V total(0.0f);
  for_span<Arch>(span, [&](int64_t j) {
    const V t = (load<Arch>(s + j) - m) * u;
    const V p = min_of<Arch>(max_of<Arch>(exp2_softmax<Arch>(t) * inverse, V(rule.eps)),
                             V(1.0f - rule.eps));
    const V l = min_of<Arch>(max_of<Arch>(t * ln2 - log_sum, V(low)), V(high));
    total = fma<Arch>(p, l, total);
  });
  const auto unseen = static_cast<float>(row.visible - (span.last - span.first));
  return -(sum_lanes<Arch>(total) + unseen * rule.eps * low);
}

template <class Arch>
ATTN_INLINE float sum_of_exp(const Span& span, const float* s, float max, float unit) {
  using V = Vec<Arch>;
  V total(0.0f);
  const V m(max), u(unit);
  for_span<Arch>(span, [&](int64_t j) { total += exp_of_score<Arch>(s + j, m, u); });
  return sum_lanes<Arch>(total);
}

// s: scores in, weights out. Fills row.saved when there is one.
template <class Arch>
__attribute__((noinline)) void row_forward(const AttentionRule& rule, const AttentionRow& row,
                                           const Span& span, float* s) {
  using V = Vec<Arch>;
  float kept[5] = {};
  apply_masks<Arch>(rule, row, 0, span, s);
  kept[0] = span_max<Arch>(span, s, kNever);  // a row of -infinity alone is NaN
  kept[0] = raise_to_lowest<Arch>(rule, row, 0, span, kept[0], s);
  const float max = kept[0];
  switch (rule.kind) {
    case Probability::softmax: {
      kept[1] = exp_and_sum<Arch>(span, s, max, rule.unit);
      scale_span<Arch>(span, s, 1.0f / kept[1]);
      break;
    }
    case Probability::sparsemax: {
      kept[1] = sparsemax_tau<Arch>(span, s, max);
      const V m(max), tau(kept[1]), zero(0.0f);
      for_span<Arch>(span, [&](int64_t j) {
        store<Arch>(s + j, max_of<Arch>(zero, load<Arch>(s + j) - m - tau));  // NaN stays
      });
      break;
    }
    case Probability::threshmax: {
      kept[1] = exp_and_sum<Arch>(span, s, max, rule.unit);
      const V inverse(1.0f / kept[1]), uniform(1.0f / static_cast<float>(row.visible));
      V total(0.0f);
      for_span<Arch>(span, [&](int64_t j) {
        const V p = load<Arch>(s + j) * inverse;
        const V y = p * gate<Arch>(p - uniform, rule.slope);
        store<Arch>(s + j, y);
        total += y;
      });
      kept[2] = sum_lanes<Arch>(total) + rule.epsilon;
      scale_span<Arch>(span, s, 1.0f / kept[2]);
      break;
    }
    case Probability::adaptive:
    case Probability::adaptive_paper: {
      kept[1] = sum_of_exp<Arch>(span, s, max, rule.unit);
      kept[3] = entropy<Arch>(rule, row, span, s, max, kept[1]);
      kept[2] = adaptive_temperature<Arch>(rule, kept[3]).value;
      kept[4] = exp_and_sum<Arch>(span, s, max, rule.unit / kept[2]);
      scale_span<Arch>(span, s, 1.0f / kept[4]);
      break;
    }
  }
  if (row.saved != nullptr) {
    for (int i = 0; i < saved_per_row(rule.kind); ++i) row.saved[i] = kept[i];
  }
}

// w: scores in, weights (without dropout) out. dw: gradient of the weights in, of the scores out. Returns the
// gradient of the slope.
template <class Arch>
__attribute__((noinline)) double row_backward(const AttentionRule& rule, const AttentionRow& row,
                                              const Span& span, float* w, float* dw) {
  using V = Vec<Arch>;
  const float* kept = row.saved;
  const V m(kept[0]), u(rule.unit), zero(0.0f);
  apply_masks<Arch>(rule, row, 0, span, w);
  raise_to_lowest<Arch>(rule, row, 0, span, kept[0], w);
  const auto probability = [&](int64_t j, V inverse) {
    return exp_of_score<Arch>(w + j, m, u) * inverse;
  };
  V dot(0.0f);
  switch (rule.kind) {
    case Probability::softmax: {
      const V inverse(1.0f / kept[1]);
      for_span<Arch>(span, [&](int64_t j) {
        const V p = probability(j, inverse);
        store<Arch>(w + j, p);
        dot = fma<Arch>(p, load<Arch>(dw + j), dot);
      });
      const V mean(sum_lanes<Arch>(dot));
      for_span<Arch>(span, [&](int64_t j) {
        store<Arch>(dw + j, load<Arch>(w + j) * (load<Arch>(dw + j) - mean));
      });
      return 0;
    }
    case Probability::sparsemax: {
      const V tau(kept[1]), one(1.0f);
      V count(0.0f);
      for_span<Arch>(span, [&](int64_t j) {
        const V x = max_of<Arch>(zero, load<Arch>(w + j) - m - tau);
        store<Arch>(w + j, x);
        const auto in = x > zero;
        dot += xsimd::select(in, load<Arch>(dw + j), zero);
        count += xsimd::select(in, one, zero);
      });
      const V mean(sum_lanes<Arch>(dot) / sum_lanes<Arch>(count));
      for_span<Arch>(span, [&](int64_t j) {
        store<Arch>(dw + j,
                    xsimd::select(load<Arch>(w + j) > zero, load<Arch>(dw + j) - mean, zero));
      });
      return 0;
    }
    case Probability::threshmax: {
      const V inverse(1.0f / kept[1]), gated(1.0f / kept[2]), one(1.0f);
      const V uniform(1.0f / static_cast<float>(row.visible)), twice(2.0f * rule.slope);
      for_span<Arch>(span, [&](int64_t j) {
        const V p = probability(j, inverse);
        dot = fma<Arch>(p * gate<Arch>(p - uniform, rule.slope) * gated, load<Arch>(dw + j), dot);
      });
      const V mean(sum_lanes<Arch>(dot));
      V dslope(0.0f), sum(0.0f);
      for_span<Arch>(span, [&](int64_t j) {
        const V p = probability(j, inverse), d = p - uniform, g = gate<Arch>(d, rule.slope);
        const V dy = (load<Arch>(dw + j) - mean) * gated;
        const V side = g * (one - g);  // (1 - tanh^2) / 4
        const V dp = dy * fma<Arch>(p * twice, side, g);
        dslope = fma<Arch>(dy * p * V(2.0f), d * side, dslope);
        sum = fma<Arch>(p, dp, sum);
        store<Arch>(dw + j, dp);
      });
      const V shift(sum_lanes<Arch>(sum));
      for_span<Arch>(span, [&](int64_t j) {
        const V p = probability(j, inverse);
        store<Arch>(dw + j, p * (load<Arch>(dw + j) - shift));
        store<Arch>(w + j, p * gate<Arch>(p - uniform, rule.slope) * gated);
      });
      return static_cast<double>(sum_lanes<Arch>(dslope));
    }
    case Probability::adaptive:
    case Probability::adaptive_paper: {
      const float temperature = kept[2];
      const V hot(rule.unit / temperature), inverse(1.0f / kept[1]), second(1.0f / kept[4]);
      const auto weight = [&](int64_t j) { return exp_of_score<Arch>(w + j, m, hot) * second; };
      for_span<Arch>(span, [&](int64_t j) { dot = fma<Arch>(weight(j), load<Arch>(dw + j), dot); });
      const V mean(sum_lanes<Arch>(dot)), cold(1.0f / temperature);
      V dt(0.0f);
      for_span<Arch>(span, [&](int64_t j) {
        const V x = weight(j), du = x * (load<Arch>(dw + j) - mean);
        // A weight of 0 may come from a score of -infinity.
        dt += xsimd::select(x > zero, du * (load<Arch>(w + j) - m), zero);
        store<Arch>(dw + j, du * cold);
      });
      const float slope = adaptive_temperature<Arch>(rule, kept[3]).slope;
      if (slope != 0) {
        const float dh = -sum_lanes<Arch>(dt) / (temperature * temperature) * slope;
        const bool clips = rule.kind == Probability::adaptive;
        const V minus_dh(-dh), log_sum(__builtin_logf(kept[1])), low(clips ? rule.eps : 0.0f),
            high(clips ? 1.0f - rule.eps : -kNever);
        const auto dp = [&](int64_t j, V p) {
          const V l = (load<Arch>(w + j) - m) * u * V(kLn2) - log_sum;
          const auto counts = p > zero && p >= low && p <= high;
          return xsimd::select(counts, minus_dh * (l + V(1.0f)), zero);
        };
        V sum(0.0f);
        for_span<Arch>(span, [&](int64_t j) {
          const V p = probability(j, inverse);
          sum = fma<Arch>(p, dp(j, p), sum);
        });
        const V shift(sum_lanes<Arch>(sum));
        for_span<Arch>(span, [&](int64_t j) {
          const V p = probability(j, inverse);
          store<Arch>(dw + j, fma<Arch>(p, dp(j, p) - shift, load<Arch>(dw + j)));
        });
      }
      for_span<Arch>(span, [&](int64_t j) { store<Arch>(w + j, weight(j)); });
      return 0;
    }
  }
  return 0;
}

}  // namespace attn::kernels::simd
