// SPDX-License-Identifier: Apache-2.0
//
// The activations and their derivatives, written once. M supplies the arithmetic: M::V is a scalar or a vector,
// M::select(condition, a, b) chooses lane by lane, and M::exp, expm1, log1p, tanh, erfc, atan, sqrt,
// abs, min, max do what they say; min and max give their first argument where it is NaN. NaN stays NaN, in
// values and in slopes. At a kink the derivative is the one that the tables of the specification name. Far
// from 0 nothing overflows to NaN: every exponential has an argument that is bounded above.
//
// gelu: 1606.08415; silu: 1710.05941; mish: 1908.08681; golu: 2502.03654; selu: 1706.02515; xatlu, xgelu,
// xsilu: 2405.20768 (arXiv). Everything is a template on M, so that code for wide registers stays apart.
#pragma once

#include "core/kernels/activation.hpp"

namespace attn::kernels::formulas {

using K = ActivationKind;

template <K kind>
struct Tag {};

template <class M>
struct Constants {
  using V = typename M::V;
  V a, b, c, alpha;
  int64_t k;
  double raw[3];
  explicit Constants(const ActivationArgs& x)
      : a(M::number(x.p[0])),
        b(M::number(x.p[1])),
        c(M::number(x.p[2])),
        alpha(M::number(x.alpha)),
        k(x.kind == K::relu_k ? static_cast<int64_t>(x.p[0]) : 0),
        raw{x.p[0], x.p[1], x.p[2]} {}
};

template <class M>
struct Pieces {
  using V = typename M::V;
  static V num(double x) { return M::number(x); }
  static V sigmoid(V x) {
    const V e = M::exp(num(0) - M::abs(x)), one = num(1);
    return M::select(x >= num(0), one, e) / (one + e);
  }
  // log(1 + e^x)
  static V softplus(V x) { return M::max(x, num(0)) + M::log1p(M::exp(num(0) - M::abs(x))); }
  // A slope that is constant piece by piece and so does not see that x is NaN.
  static V pieces(V x, V slope) { return M::select(x == x, slope, x); }
  // x g where the gate g may be 0 and x infinite.
  static V gated(V x, V g) { return M::select(g == num(0), num(0), x * g); }
  // With n = e^x (e^x + 2): tanh(log(1 + e^x)) = n / (n + 2). Beyond 30 that is 1.
  static V mish_n(V x) {
    const V e = M::exp(M::min(x, num(30)));
    return e * (e + num(2));
  }
  static V mish(V x) {
    const V n = mish_n(x);
    return gated(x, n / (n + num(2)));
  }
  static V mish_slope(V x) {  // t + x (1 - t^2) s(x)
    const V n = mish_n(x), d = num(1) / (n + num(2));
    return n * d + gated(x, num(4) * (n + num(1)) * d * d * sigmoid(x));
  }
  static V normal_cdf(V x) { return num(0.5) * M::erfc(x * num(-0.70710678118654752440)); }
  static V normal_pdf(V x) { return num(0.39894228040143267794) * M::exp(x * x * num(-0.5)); }
  // Gates of the x-family, and their derivatives.
  static V gate(Tag<K::xatlu>, V x) { return M::atan(x) * num(0.31830988618379067154) + num(0.5); }
  static V gate(Tag<K::xgelu>, V x) { return normal_cdf(x); }
  static V gate(Tag<K::xsilu>, V x) { return sigmoid(x); }
  static V gate_slope(Tag<K::xatlu>, V x) { return num(0.31830988618379067154) / (num(1) + x * x); }
  static V gate_slope(Tag<K::xgelu>, V x) { return normal_pdf(x); }
  static V gate_slope(Tag<K::xsilu>, V x) { return sigmoid(x) * sigmoid(num(0) - x); }
  static V power(V x, int64_t k) {
    V y = num(1);
    for (; k > 0; k /= 2) {
      if (k % 2) y = y * x;
      x = x * x;
    }
    return y;
  }
};

inline constexpr double kSeluScale = 1.0507009873554805, kSeluAlpha = 1.6732632423543772;

template <class M, K kind>
typename M::V value(Tag<kind> tag, const Constants<M>& k, typename M::V x) {
  using V = typename M::V;
  using P = Pieces<M>;
  const V zero = M::number(0), one = M::number(1);
  const auto num = [](double v) { return M::number(v); };
  if constexpr (kind == K::sigmoid)
    return P::sigmoid(x);
  else if constexpr (kind == K::tanh)
    return M::tanh(x);
  else if constexpr (kind == K::relu)  // a: max_value, b: negative_slope, c: threshold
    return M::select(x > k.c, M::min(x, k.a), k.b * (x - k.c));
  else if constexpr (kind == K::relu_k)
    return P::power(M::max(x, zero), k.k);
  else if constexpr (kind == K::elu)
    return M::select(x > zero, x, M::expm1(M::min(x, zero)));
  else if constexpr (kind == K::selu)
    return num(kSeluScale) * M::select(x > zero, x, num(kSeluAlpha) * M::expm1(M::min(x, zero)));
  else if constexpr (kind == K::elu_plus_one)
    return M::select(x > zero, x + one, M::exp(M::min(x, zero))) + num(1e-7);
  else if constexpr (kind == K::gelu)
    return P::gated(x, P::normal_cdf(x));
  else if constexpr (kind == K::silu)
    return P::gated(x, P::sigmoid(x));
  else if constexpr (kind == K::mish)
    return P::mish(x);
  else if constexpr (kind == K::saturated_mish) {  // a: alpha, b: beta
    const V t = (x - k.a) / k.b;
    return P::gated(P::mish(x), P::sigmoid(zero - t)) + P::mish(k.a) * P::sigmoid(t);
  } else if constexpr (kind == K::golu) {  // a: alpha, b: beta, c: gamma
    const V e = M::exp(M::min(zero - k.c * x, num(80)));
    return P::gated(x, k.a * M::exp(zero - k.b * e));
  } else if constexpr (kind == K::hard_sigmoid)
    return M::min(M::max(x + num(3), zero), num(6)) / num(6);
  else if constexpr (kind == K::hard_swish)
    return P::gated(x, M::min(M::max(x + num(3), zero), num(6)) / num(6));
  else if constexpr (kind == K::hard_tanh)
    return M::min(M::max(x, zero - one), one);
  else if constexpr (kind == K::hard_shrink)
    return M::select(M::abs(x) <= num(0.5), zero, x);
  else if constexpr (kind == K::soft_shrink) {
    const V far = M::max(M::abs(x) - num(0.5), zero);
    return M::select(x < zero, zero - far, far);
  } else if constexpr (kind == K::tanh_shrink)
    return x - M::tanh(x);
  else if constexpr (kind == K::softplus)
    return P::softplus(x);
  else if constexpr (kind == K::softsign)
    return x / (one + M::abs(x));
  else if constexpr (kind == K::sparse_plus)
    return M::select(x < one, M::select(x > zero - one, (x + one) * (x + one) * num(0.25), zero),
                     x);
  else if constexpr (kind == K::sparse_sigmoid)
    return M::min(M::max((x + one) * num(0.5), zero), one);
  else if constexpr (kind == K::squareplus) {  // (x + r) / 2 = 2 / (r - x)
    const V r = M::sqrt(x * x + num(4));
    return M::select(x >= zero, (x + r) * num(0.5), num(2) / (r - x));
  } else if constexpr (kind == K::log_sigmoid)
    return zero - P::softplus(zero - x);
  else if constexpr (kind == K::exponential)
    return M::exp(x);
  else if constexpr (kind == K::xatlu || kind == K::xgelu || kind == K::xsilu)
    return P::gated(x, P::gate(tag, x) * (one + k.alpha + k.alpha) - k.alpha);
  else
    return x;
}

template <class M, K kind>
typename M::V slope(Tag<kind> tag, const Constants<M>& k, typename M::V x) {
  using V = typename M::V;
  using P = Pieces<M>;
  const V zero = M::number(0), one = M::number(1);
  const auto num = [](double v) { return M::number(v); };
  if constexpr (kind == K::sigmoid)
    return P::sigmoid(x) * P::sigmoid(zero - x);
  else if constexpr (kind == K::tanh) {
    const V t = M::tanh(x);
    return (one - t) * (one + t);
  } else if constexpr (kind == K::relu) {
    // At the upper kink 1, but 0 for relu6; at x = threshold the slope of the left side for a plain relu.
    const bool six = k.raw[0] == 6 && k.raw[2] == 0;
    const bool unbounded = k.raw[0] > 1e300 && k.raw[2] == 0;
    const V above = six ? V(M::select(x < k.a, one, zero)) : V(M::select(x <= k.a, one, zero));
    const V at = unbounded ? k.b : zero;
    return P::pieces(x, M::select(x > k.c, above, M::select(x < k.c, k.b, at)));
  } else if constexpr (kind == K::relu_k)
    return P::pieces(
        x, M::select(x > zero, num(static_cast<double>(k.k)) * P::power(M::max(x, zero), k.k - 1),
                     zero));
  else if constexpr (kind == K::elu || kind == K::elu_plus_one)
    return M::select(x > zero, one, M::exp(M::min(x, zero)));
  else if constexpr (kind == K::selu)
    return num(kSeluScale) * M::select(x >= zero, one, num(kSeluAlpha) * M::exp(M::min(x, zero)));
  else if constexpr (kind == K::gelu)
    return P::normal_cdf(x) + P::gated(x, P::normal_pdf(x));
  else if constexpr (kind == K::silu) {
    const V s = P::sigmoid(x);
    return s + P::gated(x, s * P::sigmoid(zero - x));
  } else if constexpr (kind == K::mish)
    return P::mish_slope(x);
  else if constexpr (kind == K::saturated_mish) {
    const V t = (x - k.a) / k.b, w = P::sigmoid(t), rest = P::sigmoid(zero - t);
    return P::gated(P::mish_slope(x), rest) + P::gated(P::mish(k.a) - P::mish(x), w * rest / k.b);
  } else if constexpr (kind == K::golu) {  // 0 once beta e > 100: e^-100 is below every product
    const V e = M::exp(M::min(zero - k.c * x, num(80))), d = k.b * e;
    const V y = k.a * M::exp(zero - d) * (one + x * d * k.c);
    return M::select(d > num(100), zero, y);
  } else if constexpr (kind == K::hard_sigmoid)
    return P::pieces(x, M::select(M::abs(x) < num(3), num(1.0 / 6), zero));
  else if constexpr (kind == K::hard_swish)
    return M::min(M::max(x + num(3), zero), num(6)) / num(6) +
           M::select(M::abs(x) < num(3), x * num(1.0 / 6), zero);
  else if constexpr (kind == K::hard_tanh)
    return P::pieces(x, M::select(M::abs(x) <= one, one, zero));
  else if constexpr (kind == K::hard_shrink || kind == K::soft_shrink)
    return P::pieces(x, M::select(M::abs(x) > num(0.5), one, zero));
  else if constexpr (kind == K::tanh_shrink) {
    const V t = M::tanh(x);
    return t * t;
  } else if constexpr (kind == K::softplus)
    return P::sigmoid(x);
  else if constexpr (kind == K::softsign) {
    const V d = one / (one + M::abs(x));
    return d * d;
  } else if constexpr (kind == K::sparse_plus)
    return M::min(M::max((x + one) * num(0.5), zero), one);
  else if constexpr (kind == K::sparse_sigmoid)
    return P::pieces(x, M::select(M::abs(x) < one, num(0.5), zero));
  else if constexpr (kind == K::squareplus) {  // y / r
    const V r = M::sqrt(x * x + num(4));
    return value<M>(tag, k, x) / r;
  } else if constexpr (kind == K::log_sigmoid)
    return P::sigmoid(zero - x);
  else if constexpr (kind == K::exponential)
    return M::exp(x);
  else if constexpr (kind == K::xatlu || kind == K::xgelu || kind == K::xsilu) {
    const V wide = one + k.alpha + k.alpha;
    return P::gate(tag, x) * wide - k.alpha + P::gated(x, P::gate_slope(tag, x) * wide);
  } else
    return one;
}

// f(Tag<kind>{}) for the kind that is only known now; linear for kinds that are not here.
template <class F>
void with_kind(K kind, F&& f) {
  switch (kind) {
    case K::sigmoid:
      return f(Tag<K::sigmoid>{});
    case K::tanh:
      return f(Tag<K::tanh>{});
    case K::relu:
      return f(Tag<K::relu>{});
    case K::relu_k:
      return f(Tag<K::relu_k>{});
    case K::elu:
      return f(Tag<K::elu>{});
    case K::selu:
      return f(Tag<K::selu>{});
    case K::elu_plus_one:
      return f(Tag<K::elu_plus_one>{});
    case K::gelu:
      return f(Tag<K::gelu>{});
    case K::silu:
      return f(Tag<K::silu>{});
    case K::mish:
      return f(Tag<K::mish>{});
    case K::saturated_mish:
      return f(Tag<K::saturated_mish>{});
    case K::golu:
      return f(Tag<K::golu>{});
    case K::hard_sigmoid:
      return f(Tag<K::hard_sigmoid>{});
    case K::hard_swish:
      return f(Tag<K::hard_swish>{});
    case K::hard_tanh:
      return f(Tag<K::hard_tanh>{});
    case K::hard_shrink:
      return f(Tag<K::hard_shrink>{});
    case K::soft_shrink:
      return f(Tag<K::soft_shrink>{});
    case K::tanh_shrink:
      return f(Tag<K::tanh_shrink>{});
    case K::softplus:
      return f(Tag<K::softplus>{});
    case K::softsign:
      return f(Tag<K::softsign>{});
    case K::sparse_plus:
      return f(Tag<K::sparse_plus>{});
    case K::sparse_sigmoid:
      return f(Tag<K::sparse_sigmoid>{});
    case K::squareplus:
      return f(Tag<K::squareplus>{});
    case K::log_sigmoid:
      return f(Tag<K::log_sigmoid>{});
    case K::exponential:
      return f(Tag<K::exponential>{});
    case K::xatlu:
      return f(Tag<K::xatlu>{});
    case K::xgelu:
      return f(Tag<K::xgelu>{});
    case K::xsilu:
      return f(Tag<K::xsilu>{});
    default:
      return f(Tag<K::linear>{});
  }
}

}  // namespace attn::kernels::formulas
