// SPDX-License-Identifier: Apache-2.0
#include "tests/oracle/types/types.hpp"

namespace attn::oracle {

namespace {

struct Line {
  int64_t extent, kernel, dilation;
  bool causal;

  // Coordinates that are seen from x: of those at multiples of the dilation from it the nearest `kernel`, all together.
  [[nodiscard]] std::vector<int64_t> seen(int64_t x) const {
    std::vector<int64_t> all, out;
    for (int64_t y = 0; y < extent; ++y)
      if ((x > y ? x - y : y - x) % dilation == 0) all.push_back(y);
    const auto n = static_cast<int64_t>(all.size());
    const int64_t own = std::find(all.begin(), all.end(), x) - all.begin();
    int64_t first = causal ? own - kernel + 1 : own - kernel / 2;
    if (!causal) {
      while (first > 0 && first + kernel > n) --first;
      while (first < 0) ++first;
    }
    for (int64_t i = first; i < first + kernel && i < n; ++i)
      if (i >= 0) out.push_back(all[static_cast<size_t>(i)]);
    return out;
  }
};

}  // namespace

// Hassani et al. 2023, section 3.1; 2022, section 3.1: each query by itself, with the keys of its neighborhood alone.
void neighborhood(Run& run) {
  const Tensor& x = run.need("inputs");
  const int64_t heads = run.integer("num_heads", 8), B = x.dim(0), N = x.dim(1),
                d = x.dim(2) / heads, axes = run.integer("num_axes", 2),
                width = run.integer("grid_width", 14),
                height = run.integer("grid_height", axes == 3 ? width : (N + width - 1) / width);
  std::vector<int64_t> extents{N};
  if (axes == 2) extents = {height, width};
  if (axes == 3) extents = {(N + height * width - 1) / (height * width), height, width};
  const auto along = [&](const char* name, int64_t otherwise, size_t axis) {
    const Json* j = run.given(name);
    if (!j) return otherwise;
    return *(j->is_list() ? j->at(std::min(axis, j->size() - 1)) : *j).to_int64();
  };
  std::vector<Line> lines;
  for (size_t a = 0; a < extents.size(); ++a)
    lines.push_back({extents[a], along("kernel_size", 7, a), along("dilation", 1, a),
                     static_cast<int64_t>(a) < run.integer("causal_axes", 0)});

  const Tensor y = run.layer("qkv", x, run.flag("qkv_bias", true));
  const Tensor q = qk_norm(run, "q_norm", split_heads(part(y, 0, 3), heads));
  const Tensor k = qk_norm(run, "k_norm", split_heads(part(y, 1, 3), heads));
  const Tensor v = split_heads(part(y, 2, 3), heads);
  const Tensor z = scores_of(q, k, run.number("qk_scale", 1 / std::sqrt(static_cast<double>(d))));
  const bool biased = run.flag("use_relative_position_bias", true);
  const Tensor keep = keep_mask(run.input("attention_mask"), B, heads, N, N);
  const double left = kept_by_dropout(run, run.number("dropout_rate", 0));
  Tensor seen({N, N}), bias({1, heads, N, N});
  for (int64_t i = 0; i < N; ++i) {
    // Tokens that are there, and the place of their distance in the table of a head.
    std::vector<std::pair<int64_t, int64_t>> near{{0, 0}};
    int64_t entries = 1, stride = 1;
    for (size_t a = 1; a < lines.size(); ++a) stride *= lines[a].extent;
    for (size_t a = 0; a < lines.size(); ++a) {
      const Line& line = lines[a];
      const int64_t own = i / stride % line.extent, more = 2 * line.kernel - 1;
      std::vector<std::pair<int64_t, int64_t>> next;
      for (const auto& [token, entry] : near)
        for (const int64_t at : line.seen(own))
          next.emplace_back(token + at * stride,
                            entry * more + (at - own) / line.dilation + line.kernel - 1);
      near = std::move(next);
      entries *= more;
      if (a + 1 < lines.size()) stride /= lines[a + 1].extent;
    }
    for (const auto& [token, entry] : near) {
      if (token >= N) continue;
      seen.at(i, token) = 1;
      for (int64_t h = 0; h < heads && biased; ++h)
        bias.at(0, h, i, token) = run.kernel("relative_position_bias_table")
                                      .v.at(static_cast<size_t>(h * entries + entry));
    }
  }
  const Tensor w = map(weigh(run, probability(run, "attn_prob"), z, keep, {.seen = &seen}, &bias),
                       [=](double e) { return e * left; });
  run.output("output", run.layer("proj", merge_heads(mix(w, v)), run.flag("proj_bias", true)));
  const Json* asked = run.argument("return_attention_weights");
  if (asked && asked->as_bool()) run.output("attention_weights", w);
}

}  // namespace attn::oracle
