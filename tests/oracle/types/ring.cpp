// SPDX-License-Identifier: Apache-2.0
#include "tests/oracle/types/types.hpp"

namespace attn::oracle {

void ring(Run& run) {
  const Tensor& x = run.need("inputs");
  const int64_t heads = run.integer("num_heads", 8);
  const bool biased = run.flag("use_bias", false);
  const Tensor q = qk_norm(run, "q_norm", split_heads(run.layer("w_q", x, biased), heads));
  const Tensor k = qk_norm(run, "k_norm", split_heads(run.layer("w_k", x, biased), heads));
  const Tensor v = split_heads(run.layer("w_v", x, biased), heads);
  const Tensor z = scores_of(q, k, 1 / std::sqrt(static_cast<double>(q.dim(3))));
  const Tensor keep = keep_mask(run.input("attention_mask"), z.dim(0), heads, z.dim(2), z.dim(3));
  const double kept = kept_by_dropout(run, run.number("dropout_rate", 0));
  const Tensor o =
      map(mix(weigh(run, {.site = "softmax"}, z, keep), v), [=](double e) { return e * kept; });
  run.output("output", run.layer("w_o", merge_heads(o), biased));
}

}  // namespace attn::oracle
