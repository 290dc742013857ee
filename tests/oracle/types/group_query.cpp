// SPDX-License-Identifier: Apache-2.0
#include "tests/oracle/types/types.hpp"

namespace attn::oracle {

void group_query(Run& run) {
  const Tensor& input = run.need("inputs");
  const Tensor x = input.rank() == 3
                       ? input
                       : reshape(input, {input.dim(0), input.dim(1) * input.dim(2), input.dim(3)});
  const int64_t heads = run.integer("num_heads"), groups = run.integer("num_kv_heads");
  const bool biased = run.flag("use_bias", false);
  const Json *offset = run.argument("position_offset"),
             *weights = run.argument("return_attention_weights");
  const int64_t position = offset ? *offset->to_int64() : 0;
  const double share = run.number("rope_percentage", 1), theta = run.number("rope_theta", 10000);

  Tensor q = rope(run, split_heads(run.layer("w_q", x, biased), heads), share, theta, position);
  Tensor k = rope(run, split_heads(run.layer("w_k", x, biased), groups), share, theta, position);
  const Tensor v = split_heads(run.layer("w_v", x, biased), groups);
  q = qk_norm(run, "q_norm", q);
  k = qk_norm(run, "k_norm", k);
  const Tensor z = scores_of(q, k, 1 / std::sqrt(static_cast<double>(q.dim(3))));
  const Tensor keep = keep_mask(run.input("attention_mask"), z.dim(0), heads, z.dim(2), z.dim(3));
  const double kept = kept_by_dropout(run, run.number("dropout_rate", 0));
  const Tensor w =
      map(weigh(run, probability(run, "attn_prob"), z, keep), [=](double e) { return e * kept; });
  run.output("output", reshape(run.layer("w_o", merge_heads(mix(w, v)), biased), input.shape));
  if (weights && weights->as_bool()) run.output("attention_weights", w);
}

}  // namespace attn::oracle
