// SPDX-License-Identifier: Apache-2.0
#include "tests/oracle/types/types.hpp"

namespace attn::oracle {

void cross_attention(Run& run, const std::string& prefix, const Tensor& x, const Tensor* other,
                     bool shared, bool biased) {
  const int64_t heads = run.integer("num_heads", 8);
  const Tensor& y = other ? *other : x;
  Tensor q, k, v;
  if (shared) {
    const Tensor a = run.layer(prefix + "qkv", x, biased);
    q = part(a, 0, 3), k = part(a, 1, 3), v = part(a, 2, 3);
  } else {
    q = run.layer(prefix + "q", x, biased);
    const Tensor a = run.layer(prefix + "kv", y, biased);
    k = part(a, 0, 2), v = part(a, 1, 2);
  }
  q = qk_norm(run, prefix + "q_norm", split_heads(q, heads));
  k = qk_norm(run, prefix + "k_norm", split_heads(k, heads));
  const Tensor z = scores_of(q, k, 1 / std::sqrt(static_cast<double>(q.dim(3))));
  const Tensor keep = keep_mask(run.input("attention_mask"), z.dim(0), heads, z.dim(2), z.dim(3));
  const Tensor w = weigh(run, probability(run, prefix + "attn_prob"), z, keep);
  const double kept = kept_by_dropout(run, run.number("dropout_rate", 0));
  const Tensor o = map(mix(w, split_heads(v, heads)), [=](double e) { return e * kept; });
  run.output("output", run.layer(prefix + "proj", merge_heads(o), biased));
}

void multi_head_cross(Run& run) {
  cross_attention(run, "", run.need("query_input"), run.input("kv_input"),
                  run.flag("shared_qk_projections", false), run.flag("use_bias", true));
}

}  // namespace attn::oracle
