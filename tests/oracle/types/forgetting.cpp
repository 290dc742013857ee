// SPDX-License-Identifier: Apache-2.0
#include "tests/oracle/types/types.hpp"

namespace attn::oracle {

// Lin et al. 2025, eq. 3-5: the sums of log f from each query backwards.
void forgetting(Run& run) {
  const Tensor& x = run.need("inputs");
  const int64_t heads = run.integer("num_heads", 8), groups = run.integer("num_kv_heads", heads),
                B = x.dim(0), N = x.dim(1), d = x.dim(2) / heads;
  const bool biased = run.flag("use_bias", false);
  const std::string type = run.text("qk_norm", "");
  const Tensor q =
      norm(run, "q_norm", type, Json::object(), split_heads(run.layer("q_proj", x, biased), heads));
  const Tensor k = norm(run, "k_norm", type, Json::object(),
                        split_heads(run.layer("k_proj", x, biased), groups));
  const Tensor v = split_heads(run.layer("v_proj", x, biased), groups);
  const Tensor gate = run.layer("f_proj", x, true);
  const Tensor* mask = run.input("attention_mask");
  const Tensor z = scores_of(q, k, 1 / std::sqrt(static_cast<double>(d)));
  Tensor falls(z.shape);
  for (int64_t b = 0; b < B; ++b)
    for (int64_t h = 0; h < heads; ++h)
      for (int64_t i = 0; i < N; ++i) {
        double fall = 0;
        for (int64_t j = i; j-- > 0;) {
          if (!mask || mask->at(mask->dim(0) == 1 ? 0 : b, j + 1) > 0)
            fall += std::log(logistic(gate.at(b, j + 1, h)));
          falls.at(b, h, i, j) = fall;
        }
      }
  const double left = kept_by_dropout(run, run.number("dropout_rate", 0));
  const Tensor w = weigh(run, probability(run, "attn_prob"), z, keep_mask(mask, B, heads, N, N),
                         {.on = true, .offset = 0}, &falls);
  Tensor y = merge_heads(map(mix(w, v), [=](double e) { return e * left; }));
  if (run.flag("use_output_gate", false))
    y = multiply(y, map(run.layer("g_proj", x, biased), logistic));
  run.output("output", run.layer("o_proj", y, biased));
}

}  // namespace attn::oracle
