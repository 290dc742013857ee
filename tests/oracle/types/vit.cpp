// SPDX-License-Identifier: Apache-2.0
#include "tests/oracle/types/types.hpp"

namespace attn::oracle {

namespace {

// Raffel et al. 2020: half of the buckets each way; the first half of these are single distances.
int64_t bucket_of(int64_t ahead, int64_t buckets, int64_t farthest) {
  const int64_t half = buckets / 2, single = half / 2, distance = ahead < 0 ? -ahead : ahead;
  int64_t within = distance;
  if (distance >= single) {
    const double octaves = std::log(static_cast<double>(distance) / static_cast<double>(single)),
                 all = std::log(static_cast<double>(farthest) / static_cast<double>(single));
    within = single + static_cast<int64_t>(octaves / all * static_cast<double>(half - single));
    if (within > half - 1) within = half - 1;
  }
  return ahead > 0 ? half + within : within;
}

// The bias of swin_v2 for one offset: two layers on logarithmic coordinates.
std::vector<double> network(const Run& run, double down, double right, int64_t heads) {
  const auto spaced = [](double share) {
    const double far = std::log2(1 + 8 * std::fabs(share)) / std::log2(8.0);
    return share < 0 ? -far : far;
  };
  const Tensor &w = run.kernel("cpb_mlp/hidden/kernel"), &b = run.kernel("cpb_mlp/hidden/bias"),
               &out = run.kernel("cpb_mlp/out/kernel");
  std::vector<double> logits(static_cast<size_t>(heads), 0.0);
  for (int64_t u = 0; u < w.dim(1); ++u) {
    const double unit =
        std::max(0.0, spaced(down) * w.at(0, u) + spaced(right) * w.at(1, u) + b.at(u));
    for (int64_t h = 0; h < heads; ++h) logits[static_cast<size_t>(h)] += unit * out.at(u, h);
  }
  for (double& e : logits) e = 16 * logistic(e);
  return logits;
}

}  // namespace

void vit(Run& run) {
  const Tensor& x = run.need("inputs");
  const int64_t heads = run.integer("num_heads"), N = x.dim(1), d = x.dim(2) / heads;
  const int64_t height = run.integer("grid_height", 14), width = run.integer("grid_width", 14),
                prefix = run.integer("num_prefix_tokens", 1);
  const std::string kind = run.text("position_kind", "beit");
  const bool biased = run.flag("qv_bias", true);
  Tensor q = qk_norm(run, "q_norm", split_heads(run.layer("query", x, biased), heads));
  Tensor k = qk_norm(run, "k_norm", split_heads(run.layer("key", x, false), heads));
  const Tensor v = split_heads(run.layer("value", x, biased), heads);
  double scale = run.number("qk_scale", kind == "t5" ? 1 : 1 / std::sqrt(static_cast<double>(d)));
  if (kind == "swin_v2") {
    const auto unit = [](std::vector<double>& row, int64_t) {
      double square = 0;
      for (const double e : row) square += e * e;
      for (double& e : row) e /= std::max(std::sqrt(square), 1e-12);
    };
    q = along(q, {3}, unit);
    k = along(k, {3}, unit);
    for (int64_t b = 0; b < q.dim(0); ++b)
      for (int64_t h = 0; h < heads; ++h)
        for (int64_t i = 0; i < N; ++i)
          for (int64_t e = 0; e < d; ++e)
            q.at(b, h, i, e) *= std::min(std::exp(run.kernel("logit_scale").at(h)), 100.0);
    scale = 1;
  }
  if (kind == "rope") {
    Tensor at({x.dim(0), 2, N});
    for (int64_t b = 0; b < x.dim(0); ++b)
      for (int64_t i = prefix; i < N; ++i) {
        at.at(b, 0, i) = static_cast<double>((i - prefix) / width);
        at.at(b, 1, i) = static_cast<double>((i - prefix) % width);
      }
    for (Tensor* t : {&q, &k})
      *t = rope(run, *t, 1, run.number("rope_theta", 10000), 0, &at, "interleaved", true);
  }
  Tensor bias({1, heads, N, N});
  const int64_t rows = (2 * height - 1) * (2 * width - 1);
  for (int64_t i = 0; i < N && kind != "none" && kind != "rope"; ++i)
    for (int64_t j = 0; j < N; ++j) {
      const bool from_prefix = i < prefix, to_prefix = j < prefix;
      const int64_t down = (i - prefix) / width - (j - prefix) / width,
                    right = (i - prefix) % width - (j - prefix) % width;
      std::vector<double> all(static_cast<size_t>(heads), 0.0);
      int64_t row = (down + height - 1) * (2 * width - 1) + right + width - 1;
      if (kind == "t5") {
        row = bucket_of(j - i, run.integer("num_buckets", 32), run.integer("max_distance", 128));
      } else if (from_prefix || to_prefix) {
        if (kind != "beit") continue;
        row = from_prefix && to_prefix ? rows + 2 : from_prefix ? rows : rows + 1;
      }
      if (kind == "swin_v2") {
        const auto share = [&](int64_t distance, int64_t size) {
          const int64_t trained = run.integer("pretrained_grid_size", size);
          return trained == 1 ? 0.0
                              : static_cast<double>(distance) / static_cast<double>(trained - 1);
        };
        all = network(run, share(down, height), share(right, width), heads);
      } else {
        for (int64_t h = 0; h < heads; ++h)
          all[static_cast<size_t>(h)] = run.kernel("relative_position_bias_table").at(row, h);
      }
      for (int64_t h = 0; h < heads; ++h) bias.at(0, h, i, j) = all[static_cast<size_t>(h)];
    }
  const Tensor keep = keep_mask(run.input("attention_mask"), x.dim(0), heads, N, N);
  const double left = kept_by_dropout(run, run.number("dropout_rate", 0));
  const Tensor w =
      map(weigh(run, probability(run, "attn_prob"), scores_of(q, k, scale), keep, {}, &bias),
          [=](double e) { return e * left; });
  run.output("output", run.layer("proj", merge_heads(mix(w, v)), run.flag("proj_bias", true)));
  const Json* asked = run.argument("return_attention_weights");
  if (asked && asked->as_bool()) run.output("attention_weights", w);
}

}  // namespace attn::oracle
