// SPDX-License-Identifier: Apache-2.0
#include "tests/oracle/types/types.hpp"

namespace attn::oracle {

void gated(Run& run) {
  const Tensor& x = run.need("inputs");
  const int64_t dim = run.integer("dim"), heads = run.integer("num_heads");
  const int64_t h = run.integer("head_dim", dim / heads),
                groups = run.integer("num_kv_heads", heads);
  const bool biased = run.flag("use_bias", false);
  const double share = run.number("rope_percentage", 0.5), theta = run.number("rope_theta", 10000);
  const std::string norm_type = run.text("qk_norm_type", "zero_centered_rms_norm");
  const Json options = run.options("qk_norm_kwargs");

  const Json* offset = run.argument("position_offset");
  const int64_t position = offset ? *offset->to_int64() : 0;

  const Tensor u = run.layer("input_linear", x, biased);
  const Tensor q = norm(run, "q_norm", norm_type, options, run.layer("q_linear", u, biased));
  const Tensor k = norm(run, "k_norm", norm_type, options, run.layer("k_linear", u, biased));
  const Tensor v = norm(run, "v_norm", "zero_centered_rms_norm", Json::object(),
                        run.layer("v_linear", u, biased));
  const Tensor z = scores_of(rope(run, split_heads(q, heads), share, theta, position),
                             rope(run, split_heads(k, groups), share, theta, position),
                             1 / std::sqrt(static_cast<double>(h)));
  const Tensor keep = keep_mask(run.input("attention_mask"), z.dim(0), heads, z.dim(2), z.dim(3));
  const double kept = kept_by_dropout(run, run.number("dropout_rate", 0));
  const Tensor w = weigh(run, probability(run, "attn_prob"), z, keep);
  Tensor o = merge_heads(map(mix(w, split_heads(v, groups)), [=](double e) { return e * kept; }));
  if (heads * h != dim) o = run.layer("output_proj", o, biased);
  const Tensor gate =
      activation_of(run, "gate_activation", "gate_activation_type", "sigmoid",
                    "gate_activation_args", run.layer("output_gate_linear", o, biased));
  run.output("output", multiply(gate, o));
}

}  // namespace attn::oracle
