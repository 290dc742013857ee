// SPDX-License-Identifier: Apache-2.0
//
// Scores of one whole row to weights, and back: common-probability.md sections 4 and 5 in vectors, a VectorRow for each
// kind of attn/sdk/probability.hpp. `s` spans [span.first, span.last), relative to key 0; keys of the span outside
// [row.begin, row.end) end up with weight 0.
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

// What the sink of a row adds to the sum of its exponentials: its share is this by the sum.
template <class Arch>
ATTN_INLINE float sink_exp(const AttentionRule& rule, const AttentionRow& row, float max) {
  return row.sink == kNever ? 0.0f : power_of_two<Arch>((row.sink - max) * rule.unit);
}

// -sum of w ln w
template <class Arch>
__attribute__((noinline)) float entropy_of(const Span& span, float* w) {
  using V = Vec<Arch>;
  fill(w, span.first, span.begin, 0.0f);
  fill(w, span.end, span.last, 0.0f);
  constexpr int64_t W = kWidth<Arch>;
  const V least(__FLT_MIN__);  // a weight of 0 counts for nothing
  V s0(0.0f), s1(0.0f);
  const auto add = [&](int64_t j, V sum) {
    const V x = load<Arch>(w + j);
    return fma<Arch>(x, xsimd::log(max_of<Arch>(least, x)), sum);
  };
  int64_t j = span.first;
  for (; j + 2 * W <= span.last; j += 2 * W) {
    s0 = add(j, s0);
    s1 = add(j + W, s1);
  }
  if (j < span.last) s0 = add(j, s0);
  return -sum_lanes<Arch>(s0 + s1);
}

// s = 2^((s - max) * unit) by their sum and `more`; returns the sum of both. entropy: of these weights; nullptr: not wanted.
template <class Arch>
ATTN_INLINE float softmax_span(const Span& span, float* s, float max, float unit, float more,
                               float* entropy) {
  float spread = 0;
  const float own = entropy == nullptr ? exp_and_sum<Arch>(span, s, max, unit)
                                       : exp_and_sums<Arch>(span, s, max, unit, spread);
  const float sum = own + more;
  if (entropy != nullptr) *entropy = (own * __builtin_logf(sum) - spread * kLn2) / sum;
  scale_span<Arch>(span, s, 1.0f / sum);
  return sum;
}

// What the functions of a kind get: how scores become weights, the row, its keys. forward also gives the entropy of the
// weights where the row has a place for it.
struct RowJob {
  const AttentionRule& rule;
  const AttentionRow& row;
  const Span& span;
};

// forward: s, scores in, weights out; kept[0] is their maximum, the kind fills the others. backward: w, scores in,
// weights (without dropout) out; dw, gradient of the weights in, of the scores out; returns the gradient of the slope.
template <class Arch, Probability kind>
struct VectorRow;

template <class Arch>
struct VectorRow<Arch, Probability::softmax> {
  using V = Vec<Arch>;
  ATTN_INLINE static void forward(const RowJob& job, float* s, float* kept) {
    kept[1] = softmax_span<Arch>(job.span, s, kept[0], job.rule.unit,
                                 sink_exp<Arch>(job.rule, job.row, kept[0]), job.row.spread);
  }
  // w = p = 2^((s - max) unit) / sum: ds = w (dw - w . dw + dlse); the sink's weight has a gradient of 0.
  ATTN_INLINE static double backward(const RowJob& job, const float* kept, float* w, float* dw) {
    const V m(kept[0]), u(job.rule.unit), inverse(1.0f / kept[1]);
    V dot(0.0f);
    for_span<Arch>(job.span, [&](int64_t j) {
      const V p = exp_of_score<Arch>(w + j, m, u) * inverse;
      store<Arch>(w + j, p);
      dot = fma<Arch>(p, load<Arch>(dw + j), dot);
    });
    const float shift = sum_lanes<Arch>(dot) - job.row.dlse;
    const V mean(shift);
    for_span<Arch>(job.span, [&](int64_t j) {
      store<Arch>(dw + j, load<Arch>(w + j) * (load<Arch>(dw + j) - mean));
    });
    if (job.row.dsink != nullptr)
      *job.row.dsink = -shift * sink_exp<Arch>(job.rule, job.row, kept[0]) / kept[1];
    return 0;
  }
};

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

template <class Arch>
struct VectorRow<Arch, Probability::sparsemax> {
  using V = Vec<Arch>;
  ATTN_INLINE static void forward(const RowJob& job, float* s, float* kept) {
    kept[1] = sparsemax_tau<Arch>(job.span, s, kept[0]);
    const V m(kept[0]), tau(kept[1]), zero(0.0f);
    for_span<Arch>(job.span, [&](int64_t j) {
      store<Arch>(s + j, max_of<Arch>(zero, load<Arch>(s + j) - m - tau));  // NaN stays
    });
    if (job.row.spread != nullptr) *job.row.spread = entropy_of<Arch>(job.span, s);
  }
  // w = max(s - max - tau, 0): ds = dw - the mean of dw, both over the support.
  ATTN_INLINE static double backward(const RowJob& job, const float* kept, float* w, float* dw) {
    const V m(kept[0]), tau(kept[1]), zero(0.0f), one(1.0f);
    V sum(0.0f), count(0.0f);
    for_span<Arch>(job.span, [&](int64_t j) {
      const V x = max_of<Arch>(zero, load<Arch>(w + j) - m - tau);
      store<Arch>(w + j, x);
      const auto in = x > zero;
      sum += xsimd::select(in, load<Arch>(dw + j), zero);
      count += xsimd::select(in, one, zero);
    });
    const V mean(sum_lanes<Arch>(sum) / sum_lanes<Arch>(count));
    for_span<Arch>(job.span, [&](int64_t j) {
      store<Arch>(dw + j, xsimd::select(load<Arch>(w + j) > zero, load<Arch>(dw + j) - mean, zero));
    });
    return 0;
  }
};

// 1 / (1 + e^(-2 slope d)) = (tanh(slope d) + 1) / 2, the gate of threshmax.
template <class Arch>
ATTN_INLINE Vec<Arch> gate(Vec<Arch> d, float slope) {
  using V = Vec<Arch>;
  const V x = d * V(-2.0f * slope * kLog2e);
  return V(1.0f) / (V(1.0f) + exp2_softmax<Arch>(min_of<Arch>(V(126.0f), x)));
}

template <class Arch>
struct VectorRow<Arch, Probability::threshmax> {
  using V = Vec<Arch>;
  ATTN_INLINE static void forward(const RowJob& job, float* s, float* kept) {
    const ProbabilityArgs<float>& a = job.rule.probability;
    kept[1] = exp_and_sum<Arch>(job.span, s, kept[0], job.rule.unit);
    const V inverse(1.0f / kept[1]), uniform(1.0f / static_cast<float>(job.row.visible));
    V total(0.0f);
    for_span<Arch>(job.span, [&](int64_t j) {
      const V p = load<Arch>(s + j) * inverse;
      const V y = p * gate<Arch>(p - uniform, a.slope);
      store<Arch>(s + j, y);
      total += y;
    });
    kept[2] = sum_lanes<Arch>(total) + a.epsilon;
    scale_span<Arch>(job.span, s, 1.0f / kept[2]);
    if (job.row.spread != nullptr) *job.row.spread = entropy_of<Arch>(job.span, s);
  }
  // p = softmax(s), y = p gate(p - 1/N), w = y / (sum y + epsilon). From w to y, through gate and p, then as softmax.
  ATTN_INLINE static double backward(const RowJob& job, const float* kept, float* w, float* dw) {
    const float slope = job.rule.probability.slope;
    const V m(kept[0]), u(job.rule.unit), inverse(1.0f / kept[1]), gated(1.0f / kept[2]), one(1.0f);
    const V uniform(1.0f / static_cast<float>(job.row.visible)), twice(2.0f * slope);
    const auto softmax = [&](int64_t j) { return exp_of_score<Arch>(w + j, m, u) * inverse; };
    V dot(0.0f);
    for_span<Arch>(job.span, [&](int64_t j) {
      const V p = softmax(j);
      dot = fma<Arch>(p * gate<Arch>(p - uniform, slope) * gated, load<Arch>(dw + j), dot);
    });
    const V mean(sum_lanes<Arch>(dot));
    V dslope(0.0f), sum(0.0f);
    for_span<Arch>(job.span, [&](int64_t j) {
      const V p = softmax(j), d = p - uniform, g = gate<Arch>(d, slope);
      const V dy = (load<Arch>(dw + j) - mean) * gated;
      const V side = g * (one - g);  // (1 - tanh^2) / 4
      const V dp = dy * fma<Arch>(p * twice, side, g);
      dslope = fma<Arch>(dy * p * V(2.0f), d * side, dslope);
      sum = fma<Arch>(p, dp, sum);
      store<Arch>(dw + j, dp);
    });
    const V shift(sum_lanes<Arch>(sum));
    for_span<Arch>(job.span, [&](int64_t j) {
      const V p = softmax(j);
      store<Arch>(dw + j, p * (load<Arch>(dw + j) - shift));
      store<Arch>(w + j, p * gate<Arch>(p - uniform, slope) * gated);
    });
    return static_cast<double>(sum_lanes<Arch>(dslope));
  }
};

// Both forms: the entropy is of probabilities clipped to [epsilon, 1 - epsilon] unless in the paper's form.
template <class Arch, bool kClips>
struct AdaptiveRow {
  using V = Vec<Arch>;
  ATTN_INLINE static void forward(const RowJob& job, float* s, float* kept) {
    const float unit = job.rule.unit;
    kept[1] = sum_of_exp(job, s, kept[0]);
    kept[3] = entropy(job, s, kept[0], kept[1]);
    kept[2] = temperature(job.rule.probability, kept[3]).value;
    kept[4] = softmax_span<Arch>(job.span, s, kept[0], unit / kept[2], 0.0f, job.row.spread);
  }
  // p = softmax(s), H = -sum p ln p, w = softmax(s / temperature(H)). The gradient of s / temperature is that of
  // softmax; that of the temperature goes on through H.
  ATTN_INLINE static double backward(const RowJob& job, const float* kept, float* w, float* dw) {
    const float t = kept[2];
    const V m(kept[0]), hot(job.rule.unit / t), inverse(1.0f / kept[4]), zero(0.0f);
    const auto weight = [&](int64_t j) { return exp_of_score<Arch>(w + j, m, hot) * inverse; };
    V dot(0.0f);
    for_span<Arch>(job.span,
                   [&](int64_t j) { dot = fma<Arch>(weight(j), load<Arch>(dw + j), dot); });
    const V mean(sum_lanes<Arch>(dot)), cold(1.0f / t);
    V dt(0.0f);
    for_span<Arch>(job.span, [&](int64_t j) {
      const V x = weight(j), du = x * (load<Arch>(dw + j) - mean);
      // A weight of 0 may come from a score of -infinity.
      dt += xsimd::select(x > zero, du * (load<Arch>(w + j) - m), zero);
      store<Arch>(dw + j, du * cold);
    });
    const float slope = temperature(job.rule.probability, kept[3]).slope;
    if (slope != 0) through_entropy(job, kept, sum_lanes<Arch>(dt) / (t * t) * slope, w, dw);
    for_span<Arch>(job.span, [&](int64_t j) { store<Arch>(w + j, weight(j)); });
    return 0;
  }

 private:
  // Adds the gradient that comes through H; minus_dh is that of -H.
  ATTN_INLINE static void through_entropy(const RowJob& job, const float* kept, float minus_dh,
                                          const float* s, float* ds) {
    const float eps = job.rule.probability.epsilon;
    const V m(kept[0]), u(job.rule.unit), inverse(1.0f / kept[1]), zero(0.0f);
    const V dh(minus_dh), log_sum(__builtin_logf(kept[1])), low(kClips ? eps : 0.0f),
        high(kClips ? 1.0f - eps : -kNever);
    const auto softmax = [&](int64_t j) { return exp_of_score<Arch>(s + j, m, u) * inverse; };
    const auto dp = [&](int64_t j, V p) {
      const V l = (load<Arch>(s + j) - m) * u * V(kLn2) - log_sum;
      const auto counts = p > zero && p >= low && p <= high;
      return xsimd::select(counts, dh * (l + V(1.0f)), zero);
    };
    V sum(0.0f);
    for_span<Arch>(job.span, [&](int64_t j) {
      const V p = softmax(j);
      sum = fma<Arch>(p, dp(j, p), sum);
    });
    const V shift(sum_lanes<Arch>(sum));
    for_span<Arch>(job.span, [&](int64_t j) {
      const V p = softmax(j);
      store<Arch>(ds + j, fma<Arch>(p, dp(j, p) - shift, load<Arch>(ds + j)));
    });
  }

  // Temperature of a row by the entropy of its softmax, and its derivative: 0 where it does not move, also at the
  // threshold. Where the polynomial is 0 or 1 it moves, but not at the 1 of the paper's form.
  struct Temperature {
    float value, slope;
  };
  ATTN_INLINE static Temperature temperature(const ProbabilityArgs<float>& a, float entropy) {
    float value = 0, slope = 0;  // of the polynomial
    for (int i = 0; i < a.polynomial_size; ++i) {
      slope = slope * entropy + value;
      value = value * entropy + a.polynomial[i];
    }
    const bool above = entropy > a.threshold;
    if constexpr (!kClips) {
      if (!above || value <= 1) return {1, 0};
      return {1 / value, -slope / (value * value)};
    } else {
      const float range = a.max_temp - a.min_temp;
      Temperature t{1, 0};
      if (above) {
        t.value = a.min_temp + range * (value < 0 ? 0.0f : value > 1 ? 1.0f : value);
        if (value >= 0 && value <= 1 && t.value >= a.epsilon) t.slope = range * slope;
      }
      if (t.value < a.epsilon) t.value = a.epsilon;
      return t;
    }
  }

  // Clipped, visible keys outside the span count as epsilon; else what has no weight counts for nothing.
  ATTN_INLINE static float entropy(const RowJob& job, const float* s, float max, float sum) {
    const V m(max), u(job.rule.unit);
    V total(0.0f);
    if constexpr (!kClips) {
      const V low(-127.0f);  // 2^low is 0 in exp2_softmax
      for_span<Arch>(job.span, [&](int64_t j) {
        const V t = max_of<Arch>(low, (load<Arch>(s + j) - m) * u);
        total = fma<Arch>(exp2_softmax<Arch>(t), t, total);
      });
      return __builtin_logf(sum) - kLn2 * sum_lanes<Arch>(total) / sum;
    } else {
      const float eps = job.rule.probability.epsilon;
      const float low = __builtin_logf(eps), high = __builtin_logf(1.0f - eps);
      const V ln2(kLn2), inverse(1.0f / sum), log_sum(__builtin_logf(sum));
      for_span<Arch>(job.span, [&](int64_t j) {
        const V t = (load<Arch>(s + j) - m) * u;
        const V p =
            min_of<Arch>(max_of<Arch>(exp2_softmax<Arch>(t) * inverse, V(eps)), V(1.0f - eps));
        const V l = min_of<Arch>(max_of<Arch>(t * ln2 - log_sum, V(low)), V(high));
        total = fma<Arch>(p, l, total);
      });
      const auto unseen = static_cast<float>(job.row.visible - (job.span.last - job.span.first));
      return -(sum_lanes<Arch>(total) + unseen * eps * low);
    }
  }

  ATTN_INLINE static float sum_of_exp(const RowJob& job, const float* s, float max) {
    V total(0.0f);
    const V m(max), u(job.rule.unit);
    for_span<Arch>(job.span, [&](int64_t j) { total += exp_of_score<Arch>(s + j, m, u); });
    return sum_lanes<Arch>(total);
  }
};
template <class Arch>
struct VectorRow<Arch, Probability::adaptive> : AdaptiveRow<Arch, true> {};
template <class Arch>
struct VectorRow<Arch, Probability::adaptive_paper> : AdaptiveRow<Arch, false> {};

// s: scores in, weights out. Fills row.saved when there is one. False: no key counts, which can happen with a program
// alone; then s is 0, and the row is for the caller to write.
template <class Arch>
__attribute__((noinline)) bool row_forward(const AttentionRule& rule, const AttentionRow& row,
                                           const Span& span, float* s) {
  float kept[kMostSaved] = {};
  apply_masks<Arch>(rule, row, 0, span, s);
  if (rule.has_rest) hide_keys<Arch>(rule, &row, 1, 0, span, s, 0);
  if (rule.empties && nothing_counts<Arch>(span, s)) {
    fill(s, span.first, span.last, 0.0f);
    return false;
  }
  kept[0] = span_max<Arch>(span, s, row.sink);  // a row of -infinity alone is NaN
  kept[0] = raise_to_lowest<Arch>(rule, row, 0, span, kept[0], s);
  switch (rule.probability.kind) {
#define ATTN_ROW(kind, ...)                                                  \
  case Probability::kind:                                                    \
    VectorRow<Arch, Probability::kind>::forward({rule, row, span}, s, kept); \
    break;
    ATTN_PROBABILITIES(ATTN_ROW)
#undef ATTN_ROW
  }
  if (row.saved != nullptr) {
    for (int i = 0; i < saved_per_row(rule.probability.kind); ++i) row.saved[i] = kept[i];
  }
  return true;
}

// w: scores in, weights (without dropout) out. dw: gradient of the weights in, of the scores out. Returns the
// gradient of the slope.
template <class Arch>
__attribute__((noinline)) double row_backward(const AttentionRule& rule, const AttentionRow& row,
                                              const Span& span, float* w, float* dw) {
  apply_masks<Arch>(rule, row, 0, span, w);
  if (rule.has_rest) hide_keys<Arch>(rule, &row, 1, 0, span, w, 0);
  raise_to_lowest<Arch>(rule, row, 0, span, row.saved[0], w);
  switch (rule.probability.kind) {
#define ATTN_ROW(kind, ...) \
  case Probability::kind:   \
    return VectorRow<Arch, Probability::kind>::backward({rule, row, span}, row.saved, w, dw);
    ATTN_PROBABILITIES(ATTN_ROW)
#undef ATTN_ROW
  }
  return 0;
}

}  // namespace attn::kernels::simd
