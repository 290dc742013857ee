// SPDX-License-Identifier: Apache-2.0
#include "tests/oracle/types/types.hpp"

namespace attn::oracle {

namespace {

Tensor additive(const Tensor& mask, const Probability& p, int64_t batch, int64_t n) {
  Extents shape(3, 1);
  std::copy(mask.shape.begin(), mask.shape.end(), shape.end() - mask.rank());
  const Tensor bias = add(Tensor({batch, n, n}), reshape(mask, shape));
  // A row, or whatever is normalised, of nothing but -infinity counts as zeros.
  return along(reshape(bias, {batch, 1, n, n}), p.axes(), [](std::vector<double>& row, int64_t) {
    if (*std::max_element(row.begin(), row.end()) == -std::numeric_limits<double>::infinity())
      std::fill(row.begin(), row.end(), 0.0);
  });
}

}  // namespace

void non_local(Run& run) {
  const Tensor& x = run.need("inputs");
  const int64_t B = x.dim(0), H = x.dim(1), W = x.dim(2), N = H * W;
  const bool dot = run.text("attention_mode", "gaussian") == "dot_product";
  const bool biased = run.flag("use_bias", false);
  // Spelt with its alias or not; a null means no norm.
  const auto first = [&](const char* a, const char* b) {
    const Json* j = run.problem.config.find(a);
    return j ? j : run.problem.config.find(b);
  };
  const Json *type = first("normalization", "output_norm_type"),
             *kwargs = first("normalization_kwargs", "output_norm_kwargs");
  const std::string norm_type = !type ? "batch" : type->is_null() ? "" : type->as_string();
  const Json options = kwargs && !kwargs->is_null() ? *kwargs : Json::object();

  const Tensor& kernel = run.kernel("depthwise_conv/kernel");
  Tensor u = depthwise(x, kernel, biased ? &run.kernel("depthwise_conv/bias") : nullptr,
                       {.before_h = (kernel.dim(0) - 1) / 2,
                        .before_w = (kernel.dim(1) - 1) / 2,
                        .out_h = H,
                        .out_w = W,
                        .stride = 1});
  const auto between = [&](const char* site, const Tensor& t) {
    return activation_of(run, site, "intermediate_activation", "relu",
                         "intermediate_activation_args", t);
  };
  u = norm(run, "output_norm", norm_type, options, between("depthwise_activation", u));
  const auto pointwise = [&](const std::string& name, const Tensor& t) {
    const Tensor& w = run.kernel(name + "/kernel");
    return dense(t, reshape(w, {w.dim(2), w.dim(3)}),
                 biased ? &run.kernel(name + "/bias") : nullptr);
  };
  Tensor q = pointwise("query_conv", u), v = pointwise("value_conv", u);
  Tensor k = between("key_activation", pointwise("key_conv", u));
  const int64_t e = q.dim(3);
  q = reshape(qk_norm(run, "q_norm", reshape(q, {B, N, e})), {B, 1, N, e});
  k = reshape(qk_norm(run, "k_norm", reshape(k, {B, N, e})), {B, 1, N, e});
  v = reshape(v, {B, 1, N, e});

  const Tensor z = scores_of(q, k, dot ? 1 / std::sqrt(static_cast<double>(e)) : 1.0);
  const Probability p = probability(run, "attn_prob");
  const Tensor* mask = run.input("attention_mask");
  Tensor keep({B, 1, N, N}, 1.0), bias({1, 1, N, N});
  if (mask && mask->integral)
    keep = keep_mask(mask, B, 1, N, N);
  else if (mask)
    bias = additive(*mask, p, B, N);
  const double kept = kept_by_dropout(run, run.number("dropout_rate", 0));
  const Tensor w = weigh(run, p, z, keep, {}, &bias);
  const Tensor y = reshape(mix(w, v), {B, H, W, e});
  Tensor out = activation_of(run, "output_activation", "output_activation", "linear",
                             "output_activation_args", pointwise("output_conv", y));
  run.output("output", map(out, [=](double t) { return t * kept; }));
}

}  // namespace attn::oracle
