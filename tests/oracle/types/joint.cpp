// SPDX-License-Identifier: Apache-2.0
#include "tests/oracle/types/types.hpp"

namespace attn::oracle {

// Esser et al. 2024, figure 2b: one attention over both streams, the first one's tokens first.
void joint(Run& run) {
  const Tensor &x = run.need("inputs"), &y = run.need("context");
  const int64_t heads = run.integer("num_heads", 8), B = x.dim(0), N = x.dim(1), M = y.dim(1);
  const bool biased = run.flag("use_bias", true);
  const Json* asked = run.argument("return_context");
  const bool both = asked && asked->as_bool();
  const Json* type = run.problem.config.find("qk_norm_type");
  const std::string norm_type = !type ? "rms_norm" : type->is_null() ? "" : type->as_string();
  const bool turns = run.input("positions") || run.input("context_positions");
  const auto stream = [&](const char* layer, const char* site, const Tensor& from) {
    const Tensor t = split_heads(run.layer(layer, from, biased), heads);
    if (!site[0]) return t;
    const Tensor normed = norm(run, site, norm_type, run.options("qk_norm_kwargs"), t);
    const Tensor* at = run.input(&from == &x ? "positions" : "context_positions");
    const Tensor zero({B, from.dim(1)});
    return turns ? rope(run, normed, 1, run.number("rope_theta", 10000), 0, at ? at : &zero)
                 : normed;
  };
  Tensor q = stream("to_q", "norm_q", x);
  if (both) q = concat(q, stream("add_q_proj", "norm_added_q", y), 2);
  const Tensor k = concat(stream("to_k", "norm_k", x), stream("add_k_proj", "norm_added_k", y), 2);
  const Tensor v = concat(stream("to_v", "", x), stream("add_v_proj", "", y), 2);
  Tensor keep({B, N + M}, 1.0);
  if (const Tensor* mask = run.input("attention_mask"))
    for (int64_t b = 0; b < B; ++b)
      for (int64_t j = 0; j < M; ++j)
        keep.at(b, N + j) = mask->at(mask->dim(0) == 1 ? 0 : b, j) > 0;
  const Tensor z = scores_of(q, k, 1 / std::sqrt(static_cast<double>(x.dim(2) / heads)));
  const double left = kept_by_dropout(run, run.number("dropout_rate", 0));
  const Tensor w =
      weigh(run, probability(run, "attn_prob"), z, keep_mask(&keep, B, heads, z.dim(2), N + M));
  const Tensor o = merge_heads(map(mix(w, v), [=](double e) { return e * left; }));
  run.output("output", run.layer("to_out", slice(o, 1, 0, N), biased));
  if (both) run.output("context_output", run.layer("to_add_out", slice(o, 1, N, N + M), biased));
}

}  // namespace attn::oracle
