// SPDX-License-Identifier: Apache-2.0
//
// The host's operators for layers, as functions; functions.hpp has the plain ones. Each records itself for
// differentiation; an absent tensor is Tensor{}. Shapes: B batch, H query heads, G key/value heads (divides H), Q
// queries, K keys, D head size. Why all are templates: functions.hpp.
#pragma once

#include <attn/sdk/call.hpp>
#include <attn/sdk/functions.hpp>
#include <attn/sdk/layer.hpp>

#include <array>
#include <cmath>
#include <limits>
#include <optional>
#include <span>
#include <utility>

namespace attn::sdk {

namespace detail {
inline const Tensor* given(const Tensor& t) { return t ? &t : nullptr; }
// The attributes of a component, NULL (the default) where it has none, and then some more.
template <size_t N, class... More>
std::array<attn_value, N + sizeof...(More)> attributes(const Component& c, More... more) {
  std::array<attn_value, N + sizeof...(More)> a{};
  for (size_t i = 0; i < N && c.c && i < c.c->n_attrs; ++i) a[i] = c.c->attrs[i];
  size_t at = N;
  ((a[at++] = more), ...);
  return a;
}
}  // namespace detail

// x (..., in) -> (..., out): x W + b, W (in, out), b (out).
template <class = void>
Tensor linear(const Tensor& x, const Tensor& w, const Tensor& bias = {}) {
  return detail::apply<"linear">({&x, &w, detail::given(bias)});
}

template <class = void>
Tensor dense(const Call& c, const Dense& d, const Tensor& x) {
  return linear(x, c[d.kernel], c[d.bias]);
}

// (..., m, k) x (..., k, n), leading axes broadcast; alpha times the product.
struct MatmulOptions {
  bool transpose_a = false, transpose_b = false;
  double alpha = 1;
  bool skip_zeros = false;  // a zero of a leaves out a row of b, whatever the row holds
};
template <class = void>
Tensor matmul(const Tensor& a, const Tensor& b, MatmulOptions o = {}) {
  return detail::apply<"matmul">(
      std::array{detail::bool_value(o.transpose_a), detail::bool_value(o.transpose_b),
                 detail::real_value(o.alpha), detail::bool_value(o.skip_zeros)},
      {&a, &b});
}

struct AttentionOptions {
  std::optional<double> scale{};    // of the scores; null: 1 / sqrt(D)
  bool causal = false;              // query i uses keys j <= i + offset only
  std::optional<int64_t> offset{};  // position of query 0 among the keys; null: K - Q
  int64_t window = 0;  // > 0: causal: j > i + offset - window; else |i + offset - j| < window
  int64_t block = 0;   // > 0: only keys of the query's own block of this length
  // A row whose mask keeps no key gives zeros; else it ignores its mask.
  bool zero_fully_masked_rows = false;
  double dropout = 0;  // rate on the weights, in training calls
  int64_t tile = 0;    // > 0: most keys taken at a time (in multiples of 128): memory and speed
  // Beside causal and window: keys from i + offset - window_left to i + offset + window_right; -1: no bound.
  int64_t window_left = -1, window_right = -1;
  double softcap =
      0;  // > 0: scaled scores become softcap tanh(score / softcap), before bias and masks
  // What the weights show instead, of all keys: 0 scaled scores, 1 capped, 2 with bias and -infinity where masked or
  // not visible. Only 3, the weights, has a gradient.
  int64_t map_stage = 3;
  // A score program, after the cap and before the bias, and a mask rule, which says which keys exist for a query: texts
  // of the language of host/docs/score-programs.md; null: none. constants: "P=40, alpha=0.5". Tensors: AttentionExtras.
  const char *score = nullptr, *mask_rule = nullptr, *constants = nullptr;
};

namespace detail {
inline double scale_of(const AttentionOptions& o, const Tensor& q) {
  return o.scale ? *o.scale : 1.0 / std::sqrt(static_cast<double>(q.dim(3)));
}
inline attn_value text_or_null(const char* text) { return text ? text_value(text) : null_value(); }
inline double dropout_of(const Call& c, const AttentionOptions& o) {
  return c.training() ? o.dropout : 0.0;
}
}  // namespace detail
struct Attended {
  Tensor output;   // (B, H, Q, Dv)
  Tensor weights;  // (B, H, Q, K) after dropout, when asked for
  Tensor
      lse{};  // (B, H, Q) ln of the sum of exp(score), when asked for; -infinity where a query sees no key
};
// What few calls of attention() have.
struct AttentionExtras {
  Tensor sinks{};         // (H) one more score a head, whose weight meets no value; softmax only
  Tensor offsets{};       // (B) int32 or int64, added to the offset
  bool want_lse = false;  // softmax only
  // Tensors that programs read, and their names in that order: "doc, slope". Floating ones of the kind of q have
  // gradients through a score; int32, int64, uint8 and bool ones are whole numbers.
  const char* captured = nullptr;
  std::array<Tensor, 8> tables{};
};
namespace detail {
// The texts of a call and what they read: those of the layer, or of the call.
struct Program {
  bool layers = false;
  attn_value score{}, mask_rule{}, names{}, constants{};
  std::array<Tensor, 8> tables{};  // of the layer
};
inline Program program_of(const Call& c, const Probability& p, const AttentionOptions& o,
                          const AttentionExtras& extras) {
  if (!p.has_program())
    return {false, text_or_null(o.score), text_or_null(o.mask_rule), text_or_null(extras.captured),
            text_or_null(o.constants)};
  if (o.score || o.mask_rule)
    fail("this type has a score program or a mask rule of its own; remove score and mask_rule");
  Program out{true, text_or_null(p.score), text_or_null(p.mask_rule)};
  uint32_t n = 0;
  if (p.captures) {
    out.names = p.captures.c->attrs[0], out.constants = p.captures.c->attrs[1];
    for (; n < p.captures.c->n_weights && n < out.tables.size(); ++n)
      out.tables[n] = c.weight(p.captures, n);
  }
  if (!p.captured) return out;
  out.names = text_value(p.captured);
  for (const Tensor& own : extras.tables)
    if (own && n < out.tables.size()) out.tables[n++] = own;
  return out;
}
}  // namespace detail
// The norm of x; x itself without one. In training calls its statistics are updated.
template <class = void>
Tensor norm(Call& c, const Norm& n, const Tensor& x) {
  using namespace detail;
  if (!n) return x;
  const Tensor w0 = c.weight(n, 0), w1 = c.weight(n, 1), s0 = c.weight(n, 2), s1 = c.weight(n, 3);
  const bool update = c.training() && n.has(ATTN_COMPONENT_STATISTICS);
  const uint32_t wanted = 1u | (update && s0 ? 2u : 0u) | (update && s1 ? 4u : 0u);
  auto out = apply_all<"norm", 3>(attributes<kNormAttributes>(n),
                                  {&x, given(w0), given(w1), given(s0), given(s1)}, wanted);
  if (out[1]) c.assign(Weight{n.c->weights[2]}, out[1]);
  if (out[2]) c.assign(Weight{n.c->weights[3]}, out[2]);
  return std::move(out[0]);
}

// The activation of x; x itself for linear.
template <class = void>
Tensor activation(const Call& c, const Activation& a, const Tensor& x) {
  using namespace detail;
  if (!a) return x;
  const Tensor w0 = c.weight(a, 0), w1 = c.weight(a, 1);
  return apply<"activation">(attributes<kActivationAttributes>(a), {&x, given(w0), given(w1)});
}

// Scores (B, H, Q, K) to weights, for types that need the weights themselves.
template <class = void>
Tensor probability(const Call& c, const Probability& p, const Tensor& scores,
                   const Tensor& keep = {}, bool zero_fully_masked_rows = false) {
  using namespace detail;
  const Tensor slope = c.weight(p, 0);
  return apply<"probability">(
      attributes<kProbabilityAttributes>(p, int_value(zero_fully_masked_rows ? 1 : 0)),
      {&scores, given(slope), given(keep)});
}

// Adds regularizer(x) / extent of x's first axis to the losses of the call.
template <class = void>
void penalize(Call& c, const Regularizer& r, const char* name, const Tensor& x) {
  using namespace detail;
  if (!r) return;
  const double batch = x.rank() > 0 ? static_cast<double>(x.dim(0)) : 1.0;
  c.loss(name, apply<"penalty">(attributes<kRegularizerAttributes>(r, real_value(batch)), {&x}));
}

// Rotary position embedding of x (B, H, S, D): the first rope_dim (even) components of each head,
// positions offset.. (Su et al. 2021, interleaved pairs).
template <class = void>
Tensor rope(const Tensor& x, double theta, int64_t rope_dim, int64_t offset) {
  return detail::apply<"rope">(
      std::array{detail::real_value(theta), detail::int_value(rope_dim), detail::int_value(offset)},
      {&x});
}

// Zero with probability rate, else x / (1 - rate); x itself outside training.
template <class = void>
Tensor dropout(const Call& c, const Tensor& x, double rate) {
  if (!c.training() || rate <= 0) return x;
  return detail::apply<"dropout">(std::array{detail::real_value(rate)}, {&x});
}

namespace detail {

// A bias for a probability over other axes than the keys: a slice along them of nothing but -infinity counts as
// zeros, as a row does over the keys.
template <class = void>
Tensor unmasked_bias(const Probability& p, const Tensor& bias) {
  std::array<int64_t, 4> shape{1, 1, 1, 1};
  for (int i = 0; i < bias.rank(); ++i)
    shape[static_cast<size_t>(4 - bias.rank() + i)] = bias.dim(i);
  const Tensor b = bias.reshape(shape);
  const Tensor largest = apply<"max">(std::array{p.c->attrs[1], bool_value(true)}, {&b});
  // Above 0 for -infinity alone: no finite number gets there, and neither does NaN.
  const double most = b.dtype() == ATTN_F64
                          ? std::numeric_limits<double>::max()
                          : static_cast<double>(std::numeric_limits<float>::max());
  const Tensor masked = affine(largest, -0.5, -0.75 * most);
  return where(masked, number(b, 0), b);
}

}  // namespace detail

// attention() for a probability that normalises another axis than the keys: with scores and weights as tensors.
// Causal, window, block and lengths have no meaning there.
template <class = void>
Attended attention_other_axis(const Call& c, const Tensor& q, const Tensor& k, const Tensor& v,
                              const Probability& p, const AttentionOptions& o, const Tensor& keep,
                              const Tensor& bias) {
  if (o.causal || o.window || o.block || o.window_left >= 0 || o.window_right >= 0)
    fail("a causal, window or block rule needs probabilities over the key axis");
  if (o.softcap != 0 || o.map_stage != 3)
    fail("a soft cap, or scores as a map, need probabilities over the key axis");
  const int64_t b = q.dim(0), h = q.dim(1), g = k.dim(1);
  // (B, G, H / G, Q, D) x (B, G, 1, D, K): every query head of a group meets the group's keys.
  const Tensor q5 = q.reshape({b, g, h / g, q.dim(2), q.dim(3)});
  const Tensor k5 = k.reshape({b, g, 1, k.dim(2), k.dim(3)});
  const Tensor v5 = v.reshape({b, g, 1, v.dim(2), v.dim(3)});
  Tensor scores = matmul(q5, k5, {.transpose_b = true, .alpha = detail::scale_of(o, q)})
                      .reshape({b, h, q.dim(2), k.dim(2)});
  if (bias) scores = add(scores, detail::unmasked_bias(p, bias));
  Tensor weights = probability(c, p, scores, keep, o.zero_fully_masked_rows);
  c.observe("map", weights);
  weights = dropout(c, weights, o.dropout);
  const Tensor out =
      matmul(weights.reshape({b, g, h / g, q.dim(2), k.dim(2)}), v5, {.skip_zeros = true});
  return {out.reshape({b, h, q.dim(2), v.dim(3)}), std::move(weights)};
}

// probability(cap(scale q k^T) + bias, masked) v. q (B, H, Q, D), k (B, G, K, D), v (B, G, K, Dv), any
// strides. keep: any kind, > 0 keeps; (K), (B, K), (B, Q, K) or (B, H, Q, K), extents of 1
// broadcast. bias: floating, (Q, K), (H, Q, K) or (B, H, Q, K), extents of 1 broadcast; has a
// gradient; a row (over other axes: a slice along them) of nothing but -infinity counts as zeros.
// lengths (B): the first n keys. Scores may have any magnitude; of biases only -infinity masks.
template <class = void>
Attended attention(const Call& c, const Tensor& q, const Tensor& k, const Tensor& v,
                   const Probability& probability, const AttentionOptions& o,
                   const Tensor& keep = {}, const Tensor& bias = {}, bool want_weights = false,
                   const Tensor& lengths = {}, const AttentionExtras& extras = {}) {
  using namespace detail;
  if (probability.other_axis()) {
    if (lengths) fail("lengths need probabilities over the key axis");
    if (extras.sinks || extras.offsets || extras.want_lse)
      fail("sinks, offsets and log-sum-exp need probabilities over the key axis");
    if (o.score || o.mask_rule)
      fail("a score program or a mask rule needs probabilities over the key axis");
    return attention_other_axis(c, q, k, v, probability, o, keep, bias);
  }
  const Tensor slope = c.weight(probability, 0);
  const Tensor sinks = probability.sinks ? c[probability.sinks] : extras.sinks;
  const auto nearer = [](int64_t x, int64_t y) { return x < 0 ? y : y < 0 ? x : std::min(x, y); };
  const int64_t offset = probability.apart && !o.causal ? 0 : k.dim(2) - q.dim(2);
  const Program program = program_of(c, probability, o, extras);
  const std::array<Tensor, 8>& tables = program.layers ? program.tables : extras.tables;
  auto out = apply_all<"attention", 3>(
      attributes<kProbabilityAttributes>(
          probability, real_value(scale_of(o, q)), bool_value(o.causal),
          int_value(o.offset.value_or(offset)), int_value(o.window), int_value(o.block),
          int_value(o.zero_fully_masked_rows ? 1 : 0), real_value(dropout_of(c, o)),
          int_value(o.tile), int_value(nearer(o.window_left, probability.window_left)),
          int_value(nearer(o.window_right, probability.window_right)),
          real_value(o.softcap != 0 ? o.softcap : probability.softcap), int_value(o.map_stage),
          null_value(), null_value(), null_value(), null_value(), program.score, program.mask_rule,
          program.names, program.constants),
      {&q, &k, &v, given(keep), given(bias), given(slope), given(lengths), given(sinks),
       given(extras.offsets), given(tables[0]), given(tables[1]), given(tables[2]),
       given(tables[3]), given(tables[4]), given(tables[5]), given(tables[6]), given(tables[7])},
      1u | (want_weights ? 2u : 0u) | (extras.want_lse ? 4u : 0u));
  return {std::move(out[0]), std::move(out[1]), std::move(out[2])};
}

// softmax(scale q k^T, masked) v of a sequence that several ranks share: q, k and v (B, H, own tokens, D) in, output
// for the own tokens. Of the options scale, dropout and tile count; an ordered part is cut into tiles of `tile`
// queries and keys, at whose multiples all parts must begin. keep: (B, own tokens), or the own rows of all keys:
// (B, own, total), (B, H, own, total); a row that keeps nothing of all keys ignores its mask.
template <class = void>
Tensor sharded_attention(const Call& c, const Tensor& q, const Tensor& k, const Tensor& v,
                         const attn_shard& part, const AttentionOptions& o,
                         const Tensor& keep = {}) {
  using namespace detail;
  return apply<"sharded_attention">(
      std::array{real_value(scale_of(o, q)), real_value(dropout_of(c, o)), int_value(o.tile),
                 bool_value((part.flags & ATTN_SHARD_DETERMINISTIC) != 0),
                 ints_value(part.bounds, static_cast<size_t>(part.size) + 1)},
      {&q, &k, &v, given(keep)});
}

// x (B, H, W, C), kernel (kh, kw, C, O), bias (O): cross-correlation, 'same' padding.
template <class = void>
Tensor conv2d(const Tensor& x, const Tensor& kernel, const Tensor& bias = {}, int64_t stride = 1) {
  const std::array<int64_t, 2> strides{stride, stride};
  return detail::apply<"conv2d">(std::array{detail::ints_value(strides.data(), strides.size())},
                                 {&x, &kernel, detail::given(bias)});
}

// x (B, H, W, C), kernel (kh, kw, C, 1), bias (C): one filter a channel, 'same' padding.
template <class = void>
Tensor depthwise_conv2d(const Tensor& x, const Tensor& kernel, const Tensor& bias = {},
                        int64_t stride = 1) {
  const std::array<int64_t, 2> strides{stride, stride};
  return detail::apply<"depthwise_conv2d">(
      std::array{detail::ints_value(strides.data(), strides.size())},
      {&x, &kernel, detail::given(bias)});
}

// A complex tensor: real and imaginary part, of one shape. Without im it is real.
struct Complex {
  Tensor re{}, im{};
};

namespace detail {
struct FftTag {
  static constexpr const char* name = "fft";
  static constexpr uint32_t version = 1, min_attrs = 3, min_in = 2;
};
// wanted: bit 0 the real part, bit 1 the imaginary part.
template <class = void>
Complex fft(const Complex& x, std::initializer_list<int64_t> axes, bool inverse, double factor,
            uint32_t wanted) {
  auto out = run<FftTag, 2>(
      x.re,
      std::array{ints_value(axes.begin(), axes.size()), bool_value(inverse), real_value(factor)},
      std::array{&x.re, given(x.im)}, wanted);
  return {std::move(out[0]), std::move(out[1])};
}
template <class = void>
double inverse_size(const Tensor& x, std::initializer_list<int64_t> axes) {
  double n = 1;
  for (const int64_t axis : axes)
    if (axis >= -x.rank() && axis < x.rank())  // the operator refuses others
      n *= static_cast<double>(x.dim(static_cast<int>(axis)));
  return n > 0 ? 1 / n : 1;
}
}  // namespace detail

// Discrete Fourier transform over the listed axes, any lengths: sums of x[i] exp(-2 pi i k / n), times factor.
// ifft turns it back: exp(+2 pi i k / n), divided by the number of elements. The _real ones give the real part
// alone. A real x over several axes costs half of a complex one. A circular convolution of real tensors:
//   ifft_real(product of fft({x}, {1}) and fft({h}, {1}), {1})
template <class = void>
Complex fft(const Complex& x, std::initializer_list<int64_t> axes, double factor = 1) {
  return detail::fft(x, axes, false, factor, 3u);
}
template <class = void>
Tensor fft_real(const Complex& x, std::initializer_list<int64_t> axes, double factor = 1) {
  return detail::fft(x, axes, false, factor, 1u).re;
}
template <class = void>
Complex ifft(const Complex& x, std::initializer_list<int64_t> axes) {
  return detail::fft(x, axes, true, detail::inverse_size(x.re, axes), 3u);
}
template <class = void>
Tensor ifft_real(const Complex& x, std::initializer_list<int64_t> axes) {
  return detail::fft(x, axes, true, detail::inverse_size(x.re, axes), 1u).re;
}

}  // namespace attn::sdk
