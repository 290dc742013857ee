// SPDX-License-Identifier: Apache-2.0
#include "tests/oracle/types/types.hpp"

namespace attn::oracle {

void anchor(Run& run) {
  const Tensor& x = run.need("inputs");
  const int64_t heads = run.integer("num_heads", 8), N = x.dim(1);
  const bool biased = run.flag("use_bias", true);
  const Json* given = run.argument("num_anchor_tokens");
  const int64_t K = given ? std::min(*given->to_int64(), N) : N;

  const Tensor anchors = slice(x, 1, 0, K), rest = slice(x, 1, K, N);
  const Tensor q = concat(run.layer("query_proj", anchors, biased),
                          run.layer("query_token_proj", rest, biased), 1);
  const Tensor k = run.layer("key_proj", anchors, biased);
  const Tensor v = run.layer("value_proj", anchors, biased);
  const Tensor z = scores_of(split_heads(q, heads), split_heads(k, heads),
                             1 / std::sqrt(static_cast<double>(q.dim(2) / heads)));
  const Tensor keep = keep_mask(nullptr, x.dim(0), heads, N, K);
  const double kept = kept_by_dropout(run, run.number("dropout_rate", 0));
  const Tensor w = weigh(run, probability(run, "score_activation"), z, keep);
  const Tensor o = map(mix(w, split_heads(v, heads)), [=](double e) { return e * kept; });
  run.output("output", run.layer("output_proj", merge_heads(o), biased));
}

}  // namespace attn::oracle
