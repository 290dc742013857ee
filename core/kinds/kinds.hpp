// SPDX-License-Identifier: Apache-2.0
//
// Numbers of the family members: which probability, norm, activation or regularizer is
// meant, after names, aliases and options have been resolved (core/schema/families). They travel as
// the first attribute of the family's operators, so a value never changes its meaning and is never
// used again.
//
// Beside each family stands what its operators begin with: attributes in order, then weights in the
// order of the operator's inputs ("slots"; a slot without a weight is an absent input). In front of
// the weights comes the tensor itself. Formulas: the comment names the mathematics, the operators'
// files give it in full.
//
// Axes are always given negative (-1 is the last one), distinct and ascending: {-2, -1}.
#pragma once

#include <cstdint>

#include "core/kinds/probability.hpp"

namespace attn {

// ---- norm -------------------------------------------------------------------------------------
//
//   0 kind       I64    NormKind
//   1 axes       I64S   those normalised. batch kinds: the one axis that is kept. dynamic_tanh: the
//                       axes of its weights. energy_layer, global_response: {-1} (the channels)
//   2 epsilon    F64    unused by dynamic_tanh
//   3 constant   F64    band kinds: max_band_width; logit: temperature; batch kinds: momentum; else 0
//
//   kind                       slot 0          slot 1          slot 2           slot 3
//   layer                      gamma (n) or -  beta (n) or -
//   rms, zero_centered_rms     scale (n) or -
//   (zc_)band_rms              band_param ()
//   (zc_)adaptive_band_rms     kernel (1, P)   bias (P)
//   band_logit                 gamma           beta            (size: the last axis of the length)
//   global_response            gamma (1..C)    beta (1..C) or -
//   dynamic_tanh               weight (n)      bias (n)        alpha ()
//   energy_layer               gamma ()        delta (C)
//   batch                      gamma (C) or -  beta (C) or -   moving_mean (C)  moving_variance (C)
//   bias_free_batch            gamma (C) or -                                   running_var (C)
//
// Batch kinds: in training, outputs 1 and 2 are the new values of slots 2 and 3. Weights of several
// axes have one dimension for each of the axes, in ascending order. A () weight may be (1).
enum class NormKind : std::int32_t {
  none = 0,
  layer = 1,
  rms = 2,
  zero_centered_rms = 3,
  band_rms = 4,
  zero_centered_band_rms = 5,
  adaptive_band_rms = 6,
  zero_centered_adaptive_band_rms = 7,
  band_logit = 8,
  logit = 9,
  max_logit = 10,
  global_response = 11,
  dynamic_tanh = 12,
  energy_layer = 13,
  batch = 14,
  bias_free_batch = 15,
};
inline constexpr int kNormAttributes = 4;
inline constexpr int kNormSlots = 4;

// The mean over the axes is subtracted first.
[[nodiscard]] constexpr bool is_zero_centered(NormKind kind) noexcept {
  return kind == NormKind::zero_centered_rms || kind == NormKind::zero_centered_band_rms ||
         kind == NormKind::zero_centered_adaptive_band_rms;
}

// Keeps statistics that training calls update.
[[nodiscard]] constexpr bool has_statistics(NormKind kind) noexcept {
  return kind == NormKind::batch || kind == NormKind::bias_free_batch;
}

// ---- activation -------------------------------------------------------------------------------
//
//   0 kind        I64    ActivationKind
//   1 constants   F64S   by kind, in braces beside it below; empty where none is listed
//   2 axis        I64    kinds over an axis: that axis; else -1
//   slot 0: alpha () of xatlu, xgelu, xsilu; slope of differentiable_step (1,..,n,..,1 or ()) and of
//   threshmax (); slot 1: shift of differentiable_step, shaped as its slope
enum class ActivationKind : std::int32_t {
  linear = 0,
  sigmoid = 1,
  tanh = 2,
  relu = 3,    // {max_value (infinity: none), negative_slope, threshold}; also relu6 and leaky_relu
  relu_k = 4,  // {k}
  elu = 5,     // alpha 1; also celu
  selu = 6,
  elu_plus_one = 7,  // elu + 1 + 1e-7
  gelu = 8,          // the exact one, with erf
  silu = 9,          // also swish, basis_function
  mish = 10,
  saturated_mish = 11,  // {alpha, beta}
  golu = 12,            // {alpha, beta, gamma}
  hard_sigmoid = 13,
  hard_swish = 14,  // also hard_silu
  hard_tanh = 15,
  hard_shrink = 16,  // at 0.5
  soft_shrink = 17,  // at 0.5
  tanh_shrink = 18,
  softplus = 19,
  softsign = 20,
  sparse_plus = 21,
  sparse_sigmoid = 22,
  squareplus = 23,  // b = 4
  log_sigmoid = 24,
  exponential = 25,
  // with a weight
  xatlu = 26,
  xgelu = 27,
  xsilu = 28,
  differentiable_step = 29,
  // over an axis
  softmax = 30,
  log_softmax = 31,
  sparsemax = 32,
  adaptive = 33,        // {min_temp, max_temp, entropy_threshold, eps, coefficients...}
  threshmax = 34,       // {epsilon}
  squash = 35,          // {epsilon}
  adaptive_paper = 36,  // {min_temp, max_temp, entropy_threshold, eps, coefficients...}
};
inline constexpr int kActivationAttributes = 3;
inline constexpr int kActivationSlots = 2;

// True when an element's result depends on the element and the weights alone.
[[nodiscard]] constexpr bool is_elementwise(ActivationKind kind) noexcept {
  return kind < ActivationKind::softmax;
}

// ---- regularizer -------------------------------------------------------------------------------
// A penalty of a tensor, as operators get it; core/schema/regularizer_spec.hpp is how the schema keeps it.
//
//   0 kind     I64   RegularizerKind
//   1 l1       F64   l1_l2: factor of sum |x|
//   2 l2       F64   l1_l2: factor of sum x^2 (no 1/2); negative where the library itself sets it
//   3 factor   F64   orthogonal kinds
enum class RegularizerKind : std::int32_t {
  none = 0,
  l1_l2 = 1,
  // factor/2 * mean |off-diagonal entry| of the Gram matrix of the unit rows; rank 2
  orthogonal_rows = 2,
  orthogonal_columns = 3,  // the same of the columns
};
inline constexpr int kRegularizerAttributes = 4;

}  // namespace attn
