// SPDX-License-Identifier: Apache-2.0
#include "tests/oracle/types/types.hpp"

namespace attn::oracle {

// Shazeer et al. 2020, section 3, with as many heads on every side.
void talking_heads(Run& run) {
  const Tensor& x = run.need("inputs");
  const int64_t heads = run.integer("num_heads", 8), d = x.dim(2) / heads;
  const bool biased = run.flag("use_bias", false);
  const Tensor a = run.layer("qkv", x, biased);
  const Tensor q = qk_norm(run, "q_norm", split_heads(part(a, 0, 3), heads));
  const Tensor k = qk_norm(run, "k_norm", split_heads(part(a, 1, 3), heads));
  const Tensor v = split_heads(part(a, 2, 3), heads);
  const auto mixed = [&](const Tensor& kernel, const Tensor& t) {
    Tensor out(t.shape);
    for (int64_t b = 0; b < t.dim(0); ++b)
      for (int64_t from = 0; from < heads; ++from)
        for (int64_t to = 0; to < heads; ++to)
          for (int64_t i = 0; i < t.dim(2); ++i)
            for (int64_t j = 0; j < t.dim(3); ++j)
              out.at(b, to, i, j) += kernel.at(from, to) * t.at(b, from, i, j);
    return out;
  };
  const Tensor scores = mixed(run.kernel("scores_mix/kernel"),
                              scores_of(q, k, 1 / std::sqrt(static_cast<double>(d))));
  const Tensor keep = keep_mask(run.input("attention_mask"), x.dim(0), heads, x.dim(1), x.dim(1));
  const double left = kept_by_dropout(run, run.number("dropout_rate", 0));
  const Tensor weights = map(mixed(run.kernel("weights_mix/kernel"),
                                   weigh(run, probability(run, "attn_prob"), scores, keep)),
                             [=](double e) { return e * left; });
  run.output("output", run.layer("proj", merge_heads(mix(weights, v)), biased));
  const Json* asked = run.argument("return_attention_weights");
  if (asked && asked->as_bool()) run.output("attention_weights", weights);
}

}  // namespace attn::oracle
