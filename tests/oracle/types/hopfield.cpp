// SPDX-License-Identifier: Apache-2.0
#include "tests/oracle/types/types.hpp"

namespace attn::oracle {

void hopfield(Run& run) {
  const Tensor* self = run.input("inputs");
  const Tensor& query = self ? *self : run.need("query");
  const Tensor& key = self ? *self : run.input("key") ? *run.input("key") : query;
  const Tensor& value = !self && run.input("value") ? *run.input("value") : key;
  const int64_t heads = run.integer("num_heads"), steps = run.integer("update_steps_max", 0);
  const double eps = run.number("update_steps_eps", 1e-4);
  const bool biased = run.flag("use_bias", true);
  const Json* type = run.problem.config.find("qk_norm_type");
  const std::string norm_type = !type ? "layer_norm" : type->is_null() ? "" : type->as_string();
  const Json options = run.options("qk_norm_kwargs");

  Tensor q = norm(run, "q_norm", norm_type, options,
                  split_heads(run.layer("query_dense", query, biased), heads));
  const Tensor k = norm(run, "k_norm", norm_type, options,
                        split_heads(run.layer("key_dense", key, biased), heads));
  const Tensor v = split_heads(run.layer("value_dense", value, biased), heads);
  const int64_t B = q.dim(0), Q = q.dim(2), K = k.dim(2), d = q.dim(3);
  const Tensor keep = keep_mask(run.input("attention_mask"), B, heads, Q, K);
  const Probability p = probability(run, "attn_prob");
  const double kept = kept_by_dropout(run, run.number("dropout_rate", 0));

  std::vector<bool> done(static_cast<size_t>(B * heads), false);
  Tensor a, before;
  for (int64_t t = 0; t <= steps; ++t) {
    const Tensor now = weigh(run, p, scores_of(q, k, 1 / std::sqrt(static_cast<double>(d))), keep);
    if (t == 0) a = now;
    const size_t block = static_cast<size_t>(Q * K);
    for (size_t i = 0; i < done.size(); ++i) {
      if (done[i]) continue;
      std::copy_n(now.v.begin() + static_cast<int64_t>(i * block), block,
                  a.v.begin() + static_cast<int64_t>(i * block));
      if (t == 0) continue;
      double delta = 0;
      for (size_t e = i * block; e < (i + 1) * block; ++e)
        delta += (now.v[e] - before.v[e]) * (now.v[e] - before.v[e]);
      if (t < steps) run.near((std::sqrt(delta) - eps) / eps);
      if (std::sqrt(delta) < eps) done[i] = true;
    }
    before = a;
    // A finished head stays: its weights are not looked at again.
    if (t < steps) q = mix(map(a, [=](double e) { return e * kept; }), k);
  }
  a = map(a, [=](double e) { return e * kept; });
  run.output("output", run.layer("output_dense", merge_heads(mix(a, v)), biased));
  const Json* scores = run.argument("return_attention_scores");
  if (scores && scores->as_bool()) run.output("attention_scores", a);
}

}  // namespace attn::oracle
