// SPDX-License-Identifier: Apache-2.0
#include "tests/oracle/types/types.hpp"

namespace attn::oracle {

void differential(Run& run) {
  const Tensor& x = run.need("inputs");
  const int64_t heads = run.integer("num_heads");
  const double scale = 1 / std::sqrt(static_cast<double>(run.integer("head_dim")));
  const double kept = kept_by_dropout(run, run.number("attention_dropout_rate", 0));
  const Tensor v = split_heads(run.layer("v", x, true), heads);
  const auto stream = [&](const std::string& s) {
    const Tensor q = qk_norm(run, "q_norm_" + s, split_heads(run.layer("q" + s, x, true), heads));
    const Tensor k = qk_norm(run, "k_norm_" + s, split_heads(run.layer("k" + s, x, true), heads));
    const Tensor z = scores_of(q, k, scale);
    const Tensor keep = keep_mask(run.input("attention_mask"), z.dim(0), heads, z.dim(2), z.dim(3));
    return map(mix(weigh(run, probability(run, "attn_prob_" + s), z, keep), v),
               [=](double e) { return e * kept; });
  };
  const Json* index = run.argument("layer_idx");
  const double depth =
      static_cast<double>(std::max<int64_t>(index ? *index->to_int64() - 1 : -1, 0));
  const double lambda = std::min(
      std::max((0.8 - 0.6 * std::exp(-0.3 * depth)) * run.scalar("lambda_param"), 0.1), 0.9);
  const Tensor D =
      zip(stream("1"), stream("2"), [=](double a, double b) { return a - lambda * b; });
  const double out_kept = kept_by_dropout(run, run.number("dropout_rate", 0));
  run.output("output",
             map(run.layer("proj", merge_heads(D), true), [=](double e) { return e * out_kept; }));
}

}  // namespace attn::oracle
