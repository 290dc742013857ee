// SPDX-License-Identifier: Apache-2.0
#include "tests/oracle/types/types.hpp"

namespace attn::oracle {

void multi_head_latent(Run& run) {
  const Tensor& x = run.need("inputs");
  const int64_t heads = run.integer("num_heads"), c = run.integer("kv_latent_dim"),
                n = run.integer("qk_nope_head_dim", 128), r = run.integer("qk_rope_head_dim", 64),
                e = run.integer("v_head_dim", 128);
  const bool biased = run.flag("use_bias", false);
  const std::string norm_type =
      run.given("latent_norm_type") || !run.problem.config.contains("latent_norm_type")
          ? run.text("latent_norm_type", "rms_norm")
          : "";
  const Json options = run.options("latent_norm_kwargs");
  const Json *offset = run.argument("position_offset"), *causal = run.argument("use_causal_mask"),
             *weights = run.argument("return_attention_weights");
  const auto turn = [&](const Tensor& t) {
    return rope(run, t, 1, run.number("rope_theta", 10000), offset ? *offset->to_int64() : 0,
                run.input("positions"));
  };
  Tensor from = x;
  if (run.given("q_latent_dim"))
    from = norm(run, "q_norm", norm_type, options, run.layer("w_dq", x, biased));
  Tensor q = split_heads(run.layer("w_uq", from, false), heads);
  const Tensor down = run.layer("w_dkv", x, biased);
  const Tensor latent = norm(run, "kv_norm", norm_type, options, slice(down, -1, 0, c));
  const Tensor shared = turn(split_heads(slice(down, -1, c, c + r), 1));
  const Tensor kv = split_heads(run.layer("w_ukv", latent, false), heads);
  const Tensor q_turned = turn(slice(q, -1, n, n + r));
  Tensor k({x.dim(0), heads, x.dim(1), n + r});
  for (int64_t b = 0; b < x.dim(0); ++b)
    for (int64_t h = 0; h < heads; ++h)
      for (int64_t s = 0; s < x.dim(1); ++s) {
        for (int64_t i = 0; i < n; ++i) k.at(b, h, s, i) = kv.at(b, h, s, i);
        for (int64_t i = 0; i < r; ++i) {
          k.at(b, h, s, n + i) = shared.at(b, 0, s, i);
          q.at(b, h, s, n + i) = q_turned.at(b, h, s, i);
        }
      }
  const Tensor z = scores_of(q, k, run.number("scale", 1 / std::sqrt(static_cast<double>(n + r))));
  const Tensor keep = keep_mask(run.input("attention_mask"), z.dim(0), heads, z.dim(2), z.dim(3));
  const double kept = kept_by_dropout(run, run.number("dropout_rate", 0));
  const Tensor w =
      map(weigh(run, {.site = "attn_prob"}, z, keep, {.on = !causal || causal->as_bool()}),
          [=](double a) { return a * kept; });
  run.output("output", run.layer("w_o", merge_heads(mix(w, slice(kv, -1, n, n + e))), biased));
  if (weights && weights->as_bool()) run.output("attention_weights", w);
}

}  // namespace attn::oracle
