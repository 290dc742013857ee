// SPDX-License-Identifier: Apache-2.0
#include "tests/oracle/types/types.hpp"

namespace attn::oracle {

namespace {

Tensor downsample(const Run& run, const Tensor& x) {
  Padding p{.stride = 2};
  const auto axis = [](int64_t n, int64_t& before, int64_t& out) {
    out = (n + 1) / 2;
    before = std::max<int64_t>(2 * (out - 1) + 3 - n, 0) / 2;
  };
  axis(x.dim(1), p.before_h, p.out_h);
  axis(x.dim(2), p.before_w, p.out_w);
  return depthwise(x, run.kernel("downsample/kernel"), &run.kernel("downsample/bias"), p);
}

}  // namespace

void mobile_mqa(Run& run) {
  const Tensor& x = run.need("inputs");
  const int64_t heads = run.integer("num_heads", 8), B = x.dim(0), N = x.dim(1) * x.dim(2);
  const bool biased = run.flag("use_bias", true);
  Tensor k = run.layer("w_k", x, biased), v = run.layer("w_v", x, biased);
  if (run.flag("use_downsampling", false)) {
    k = downsample(run, k);
    v = downsample(run, v);
  }
  const int64_t M = k.dim(1) * k.dim(2), d = k.dim(3);
  const Tensor q = qk_norm(
      run, "q_norm", split_heads(reshape(run.layer("w_q", x, biased), {B, N, x.dim(3)}), heads));
  k = qk_norm(run, "k_norm", reshape(k, {B, 1, M, d}));
  v = reshape(v, {B, 1, M, d});
  const Tensor z = scores_of(q, k, 1 / std::sqrt(static_cast<double>(d)));
  const Tensor keep = keep_mask(run.input("attention_mask"), B, heads, N, M);
  const double kept = kept_by_dropout(run, run.number("dropout_rate", 0));
  const Tensor w =
      map(weigh(run, probability(run, "attn_prob"), z, keep), [=](double e) { return e * kept; });
  const Tensor o = reshape(run.layer("w_o", merge_heads(mix(w, v)), biased), x.shape);
  const double lambda = run.scalar("lambda");
  run.output("output", zip(x, o, [=](double a, double b) { return a + lambda * b; }));
  const Json* weights = run.argument("return_attention_weights");
  if (weights && weights->as_bool()) run.output("attention_weights", w);
}

}  // namespace attn::oracle
