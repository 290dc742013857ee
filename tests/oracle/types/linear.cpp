// SPDX-License-Identifier: Apache-2.0
#include "tests/oracle/types/types.hpp"

namespace attn::oracle {

// Katharopoulos et al. 2020, eq. 4: the weights of all pairs one by one.
void linear(Run& run) {
  const Tensor& x = run.need("inputs");
  const int64_t heads = run.integer("num_heads", 8), B = x.dim(0), N = x.dim(1),
                d = run.integer("head_dim", x.dim(2) / heads);
  const bool biased = run.flag("use_bias", false), causal = run.flag("causal", false);
  const std::string map_name = run.text("feature_map", "relu");
  const double epsilon = run.number("epsilon", 1e-6);
  const auto features = [&](Tensor t) {
    return map(std::move(t), [&](double e) {
      if (map_name == "abs") return std::fabs(e);
      if (map_name == "elu") return e > 0 ? e + 1 : std::exp(e);
      const double r = std::max(e, 0.0);
      return map_name == "relu" ? r : r * r;
    });
  };
  const Tensor raw_q = split_heads(run.layer("query_proj", x, biased), heads),
               raw_k = split_heads(run.layer("key_proj", x, biased), heads),
               v = split_heads(run.layer("value_proj", x, biased), heads);
  const Tensor q = features(raw_q), k = features(raw_k);
  const Tensor* mask = run.input("attention_mask");
  const auto kept = [&](int64_t b, int64_t j) {
    return !mask || mask->at(mask->dim(0) == 1 ? 0 : b, j) > 0;
  };
  Tensor out({B, heads, N, d});
  for (int64_t b = 0; b < B; ++b)
    for (int64_t h = 0; h < heads; ++h) {
      std::vector<double> mass(static_cast<size_t>(N), 0.0);
      double size = 0;
      for (int64_t i = 0; i < N; ++i)
        for (int64_t f = 0; f < d; ++f)
          size = std::max({size, std::fabs(raw_q.at(b, h, i, f)), std::fabs(raw_k.at(b, h, i, f))});
      for (int64_t i = 0; i < N; ++i) {
        // A query all of whose products are 0 gives 0, and one that is nearly so an average of values. With linear parts
        // of single features the result also turns where the largest of them is small.
        double largest = -size;
        for (int64_t j = 0; j < (causal ? i + 1 : N); ++j) {
          if (!kept(b, j)) continue;
          double weight = 0;
          for (int64_t f = 0; f < d; ++f) {
            weight += q.at(b, h, i, f) * k.at(b, h, j, f);
            largest = std::max(largest, std::min(raw_q.at(b, h, i, f), raw_k.at(b, h, j, f)));
          }
          mass[static_cast<size_t>(i)] += weight;
          for (int64_t e = 0; e < d; ++e) out.at(b, h, i, e) += weight * v.at(b, h, j, e);
        }
        if (map_name.starts_with("relu") && size > 0) run.near(largest / size);
      }
      for (int64_t i = 0; i < N; ++i) {
        double sum = 0, count = 0;
        for (int64_t j = 0; j < (causal ? i + 1 : N); ++j)
          if (kept(b, j)) sum += mass[static_cast<size_t>(j)], count += 1;
        const double own = mass[static_cast<size_t>(i)];
        double below = own > 0 ? own + epsilon * sum / std::max(count, 1.0) : 1;
        if (map_name == "elu") below = std::max(below, 1e-20);
        for (int64_t e = 0; e < d; ++e) out.at(b, h, i, e) /= below;
      }
    }
  out = norm(run, "output_norm", run.text("normalization", ""), run.options("normalization_kwargs"),
             out);
  const double left = kept_by_dropout(run, run.number("dropout_rate", 0));
  run.output("output", map(run.layer("output_proj", merge_heads(out), biased),
                           [=](double e) { return e * left; }));
}

}  // namespace attn::oracle
