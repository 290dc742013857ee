// SPDX-License-Identifier: Apache-2.0
//
// What several types have in common: heads, scores, masks, probability maps, norms, activations, rotary
// positions, convolutions. Each is written from its specification with plain loops.
#pragma once

#include "tests/oracle/problem.hpp"

namespace attn::oracle {

// (B, S, H*d) -> (B, H, S, d), and back.
[[nodiscard]] Tensor split_heads(const Tensor& x, int64_t heads);
[[nodiscard]] Tensor merge_heads(const Tensor& x);

// One of several equal thirds or halves of the last axis.
[[nodiscard]] inline Tensor part(const Tensor& x, int64_t which, int64_t parts) {
  const int64_t n = x.dim(-1) / parts;
  return slice(x, -1, which * n, (which + 1) * n);
}

// ---- scores to weights ------------------------------------------------------------------------

struct Probability {
  std::string type = "softmax";  // any letter case, aliases too
  Json config = Json::object();
  std::string site{};  // prefix of its weights: "attn_prob/threshmax"
  double slope = 10;   // read from the weight by probability()

  // Axes of (batch, head, query, key) that are normalised together.
  [[nodiscard]] std::vector<size_t> axes() const;
  [[nodiscard]] bool over_keys() const { return axes() == std::vector<size_t>{3}; }
  // One row of scores to weights.
  void apply(Run& run, std::vector<double>& row) const;
};

// From probability_type and probability_config; weights under `site`/threshmax.
[[nodiscard]] Probability probability(const Run& run, const std::string& site);
[[nodiscard]] std::string canonical_probability(const std::string& name);

void softmax_row(std::vector<double>& row);
void sparsemax_row(std::vector<double>& row);
void threshmax_row(std::vector<double>& row, double slope, double epsilon);
void adaptive_row(Run& run, std::vector<double>& row, const Json& options);

// ---- masks and attention ----------------------------------------------------------------------

using check::keep_mask;
// Slices along the axes that keep nothing are kept whole.
[[nodiscard]] Tensor unmasked(const Tensor& keep, const std::vector<size_t>& axes);

struct Causal {
  bool on = false;               // also when the call says use_causal_mask
  int64_t offset = 0;            // query i sees keys 0 .. i + offset
  const Tensor* seen = nullptr;  // (Q, K): and of these those that are not 0
};

// Weights (B, H, Q, K) of scores of that shape under a keep mask (before the unmask), by the config's softcap,
// use_sinks (weights under p.site), window_left and window_right. bias: (1 or B, H, Q, K).
[[nodiscard]] Tensor weigh(Run& run, const Probability& p, const Tensor& scores, const Tensor& keep,
                           Causal causal = {}, const Tensor* bias = nullptr);

// (B, H, Q, d) x (B, G, K, d) -> (B, H, Q, K); G divides H, neighbours share a key head.
[[nodiscard]] Tensor scores_of(const Tensor& q, const Tensor& k, double scale);
// (B, H, Q, K) x (B, G, K, e) -> (B, H, Q, e)
[[nodiscard]] Tensor mix(const Tensor& weights, const Tensor& values);

// What a dropout of this rate leaves in a call: everything outside of training, nothing at rate 1. Rates
// between are random and not the oracle's.
[[nodiscard]] double kept_by_dropout(const Run& run, double rate);

// ---- norms, activations -----------------------------------------------------------------------

// The norm `type` (empty: none) with its weights under `site`.
[[nodiscard]] Tensor norm(Run& run, const std::string& site, const std::string& type,
                          const Json& options, const Tensor& x);
// qk_norm_type and qk_norm_kwargs of the config.
[[nodiscard]] Tensor qk_norm(Run& run, const std::string& site, const Tensor& x);

[[nodiscard]] Tensor activation(Run& run, const std::string& site, const std::string& name,
                                const Json& args, const Tensor& x);
// The activation named by one parameter, with the arguments in another; null is linear.
[[nodiscard]] Tensor activation_of(Run& run, const std::string& site, const char* parameter,
                                   const char* otherwise, const char* args, const Tensor& x);
[[nodiscard]] double logistic(double x);

// ---- rotary positions, convolutions, pools ----------------------------------------------------

// Rotates the first r components of x (B, H, S, d), r the even part of trunc(d * percentage), as rope_style and
// rope_scaling of the config say (default: style); positions (B, S) or (B, axis, S): the input, or offset, offset + 1,
// ... halves: two axes share the pairs, with frequencies of their own, unless rope_scaling says how.
[[nodiscard]] Tensor rope(const Run& run, const Tensor& x, double percentage, double theta,
                          int64_t offset, const Tensor* positions = nullptr,
                          const char* style = "interleaved", bool halves = false);

struct Padding {
  int64_t before_h = 0, before_w = 0, out_h = 0, out_w = 0, stride = 1;
};
// Depthwise cross-correlation of x (B, H, W, C) with kernel (kh, kw, C, 1), zeros outside.
[[nodiscard]] Tensor depthwise(const Tensor& x, const Tensor& kernel, const Tensor* bias,
                               Padding p);

// Gates of a feature map (B, H, W, C): one for each channel, (B, 1, 1, C), and one for each pixel,
// (B, H, W, 1), before their last activation.
[[nodiscard]] Tensor channel_logits(Run& run, const std::string& site, const Tensor& x, bool biased,
                                    const char* activation, const char* args);
[[nodiscard]] Tensor spatial_logits(const Run& run, const std::string& site, const Tensor& x,
                                    int64_t size, bool biased);

}  // namespace attn::oracle
