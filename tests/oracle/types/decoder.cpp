// SPDX-License-Identifier: Apache-2.0
#include "tests/oracle/program.hpp"
#include "tests/oracle/types/types.hpp"

namespace attn::oracle {

namespace {

// Weights (B, H, Q, K): of keys up to the query's own when causal, within `window`, with one more score a head (H) that
// has no key. A row whose mask leaves nothing of these ignores it.
Tensor softmax_of_visible(Run& run, Tensor scores, const Tensor& keep, bool causal, int64_t window,
                          const Tensor* sinks) {
  const int64_t heads = scores.dim(1), queries = scores.dim(2), keys = scores.dim(3);
  const Program program(run, "attn_prob");
  Tensor out = scores;
  for (int64_t b = 0; b < scores.dim(0); ++b)
    for (int64_t h = 0; h < scores.dim(1); ++h)
      for (int64_t i = 0; i < queries; ++i) {
        const auto place = [&](int64_t j) {
          return Place{.b = b, .h = h, .q = i, .k = j, .H = heads, .s = scores.at(b, h, i, j)};
        };
        const auto visible = [&](int64_t j) {
          if ((causal && j > i) || !program.sees(place(j))) return false;
          return window == 0 || std::abs(i - j) < window;
        };
        for (int64_t j = 0; j < keys; ++j)
          if (visible(j)) scores.at(b, h, i, j) = program.score(place(j));
        bool any = false;
        for (int64_t j = 0; j < keys; ++j) any = any || (visible(j) && keep.at(b, h, i, j) != 0);
        double largest =
            sinks ? sinks->v[static_cast<size_t>(h)] : -std::numeric_limits<double>::infinity();
        const auto used = [&](int64_t j) {
          return visible(j) && (!any || keep.at(b, h, i, j) != 0);
        };
        for (int64_t j = 0; j < keys; ++j)
          if (used(j)) largest = std::max(largest, scores.at(b, h, i, j));
        run.scored(largest);
        double sum = sinks ? std::exp(sinks->v[static_cast<size_t>(h)] - largest) : 0;
        for (int64_t j = 0; j < keys; ++j)
          if (used(j)) sum += std::exp(scores.at(b, h, i, j) - largest);
        for (int64_t j = 0; j < keys; ++j)
          out.at(b, h, i, j) = used(j) ? std::exp(scores.at(b, h, i, j) - largest) / sum : 0;
      }
  return out;
}

}  // namespace

void decoder(Run& run) {
  const Tensor& x = run.need("inputs");
  const int64_t heads = run.integer("num_heads"), groups = run.integer("num_kv_heads"),
                size = run.integer("head_dim", run.integer("dim") / heads);
  const Json *offset = run.argument("position_offset"), *causal = run.argument("use_causal_mask"),
             *weights = run.argument("return_attention_weights");
  const bool over_heads = run.text("qk_norm_over", "head") == "head",
             before = run.text("qk_norm_place", "before_rope") == "before_rope";
  const auto normed = [&](const std::string& name, Tensor t) {
    t = over_heads ? qk_norm(run, name + "_norm", t)
                   : split_heads(qk_norm(run, name + "_norm", merge_heads(t)), t.dim(1));
    if (!run.flag("use_qk_head_scale", false)) return t;
    const Tensor& scale = run.kernel(name + "_norm/head_scale");
    for (int64_t b = 0; b < t.dim(0); ++b)
      for (int64_t h = 0; h < t.dim(1); ++h)
        for (int64_t s = 0; s < t.dim(2); ++s)
          for (int64_t i = 0; i < size; ++i)
            t.at(b, h, s, i) *= scale.v[static_cast<size_t>(h * size + i)];
    return t;
  };
  const auto turned = [&](const std::string& name, int64_t count, bool biased) {
    Tensor t = run.layer("w_" + name, x, biased);
    t = split_heads(t, count);
    if (before) t = normed(name, t);
    t = rope(run, t, run.number("rope_percentage", 1), run.number("rope_theta", 10000),
             offset ? *offset->to_int64() : 0, run.input("positions"), "half_split");
    return before ? t : normed(name, t);
  };
  const bool query_bias = run.flag("use_query_bias", false);
  const Tensor q = turned("q", heads, query_bias),
               k = turned("k", groups, run.flag("use_key_bias", false)),
               v = split_heads(run.layer("w_v", x, run.flag("use_value_bias", false)), groups);
  const double cap = run.number("softcap", 0);
  const Tensor z =
      map(scores_of(q, k, run.number("scale", 1 / std::sqrt(static_cast<double>(size)))),
          [=](double e) { return cap > 0 ? cap * std::tanh(e / cap) : e; });
  const Tensor keep = keep_mask(run.input("attention_mask"), z.dim(0), heads, z.dim(2), z.dim(3));
  const double kept = kept_by_dropout(run, run.number("dropout_rate", 0));
  const Tensor w =
      map(softmax_of_visible(run, z, keep, !causal || causal->as_bool(), run.integer("window", 0),
                             run.flag("use_sinks", false) ? &run.kernel("sinks") : nullptr),
          [=](double e) { return e * kept; });
  Tensor y = merge_heads(mix(w, v));
  if (run.flag("use_output_gate", false))
    y = multiply(y, map(run.layer("w_g", x, query_bias), logistic));
  run.output("output", run.layer("w_o", y, run.flag("use_output_bias", false)));
  if (weights && weights->as_bool()) run.output("attention_weights", w);
}

}  // namespace attn::oracle
