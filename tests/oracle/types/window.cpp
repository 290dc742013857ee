// SPDX-License-Identifier: Apache-2.0
#include "tests/oracle/types/types.hpp"

namespace attn::oracle {

void window(Run& run) {
  const Tensor& x = run.need("inputs");
  const int64_t B = x.dim(0), N = x.dim(1), C = x.dim(2);
  const int64_t w = run.integer("window_size"), heads = run.integer("num_heads"), M = w * w;
  const std::string prefix = "single_window_attention/";
  int64_t s = 1;
  while (s * s < N) ++s;
  const int64_t p = w * ((s + w - 1) / w), nw = p / w;
  // In zigzag: how many cells of the grid come before one on the walk along its diagonals.
  const bool zigzag = run.text("window_partition", "grid") == "zigzag";
  Tensor steps({s, s});
  for (int64_t row = 0; row < s && zigzag; ++row)
    for (int64_t column = 0; column < s; ++column)
      for (int64_t r = 0; r < s; ++r)
        for (int64_t c = 0; c < s; ++c) {
          const bool down = (r + c) % 2 == 1;
          const bool before = r + c != row + column ? r + c < row + column
                              : down                ? r < row
                                                    : r > row;
          steps.at(row, column) += before;
        }
  const auto step = [&](int64_t row, int64_t column) {
    return static_cast<int64_t>(steps.at(row, column));
  };
  const int64_t windows = zigzag ? (s * s + M - 1) / M : nw * nw;
  const auto window_of = [&](int64_t b, int64_t row, int64_t column) {
    return b * windows + (zigzag ? step(row, column) / M : row / w * nw + column / w);
  };
  const auto cell_of = [&](int64_t row, int64_t column) {
    return zigzag ? step(row, column) % M : row % w * w + column % w;
  };

  Tensor cells({B * windows, M, C});
  for (int64_t b = 0; b < B; ++b)
    for (int64_t t = 0; t < N; ++t)
      for (int64_t c = 0; c < C; ++c)
        cells.at(window_of(b, t / s, t % s), cell_of(t / s, t % s), c) = x.at(b, t, c);
  const Tensor a = run.layer(prefix + "qkv", cells, run.flag("qkv_bias", true));
  const Tensor q = qk_norm(run, prefix + "q_norm", split_heads(part(a, 0, 3), heads));
  const Tensor k = qk_norm(run, prefix + "k_norm", split_heads(part(a, 1, 3), heads));
  const Tensor v = split_heads(part(a, 2, 3), heads);
  const Tensor z =
      scores_of(q, k, run.number("qk_scale", 1 / std::sqrt(static_cast<double>(C / heads))));
  Tensor bias;
  if (run.flag("use_relative_position_bias", true)) {
    const Tensor& table = run.kernel(prefix + "relative_position_bias_table");
    bias = Tensor({1, heads, M, M});
    for (int64_t h = 0; h < heads; ++h)
      for (int64_t i = 0; i < M; ++i)
        for (int64_t j = 0; j < M; ++j)
          bias.at(0, h, i, j) =
              table.at((i / w - j / w + w - 1) * (2 * w - 1) + (i % w - j % w + w - 1), h);
  }
  Tensor keep(z.shape, 1.0);
  if (const Tensor* mask = run.input("attention_mask"); mask && mask->rank() == 3) {
    keep = keep_mask(mask, B, heads, M, M);
  } else if (mask) {
    Tensor laid({B * windows, M});
    for (int64_t b = 0; b < B; ++b)
      for (int64_t t = 0; t < N; ++t)
        laid.at(window_of(b, t / s, t % s), cell_of(t / s, t % s)) =
            mask->at(mask->dim(0) == 1 ? 0 : b, t);
    keep = keep_mask(&laid, B * windows, heads, M, M);
  }
  const double kept = kept_by_dropout(
      run, run.number(run.given("dropout_rate") ? "dropout_rate" : "attn_dropout_rate", 0));
  const Tensor A = weigh(run, probability(run, prefix + "attn_prob"), z, keep, {},
                         bias.v.empty() ? nullptr : &bias);
  const Tensor o = map(mix(A, v), [=](double e) { return e * kept; });
  const Tensor y = run.layer(prefix + "proj", merge_heads(o), run.flag("proj_bias", true));
  Tensor out({B, N, C});
  for (int64_t b = 0; b < B; ++b)
    for (int64_t t = 0; t < N; ++t)
      for (int64_t c = 0; c < C; ++c)
        out.at(b, t, c) = y.at(window_of(b, t / s, t % s), cell_of(t / s, t % s), c);
  run.output("output", out);
}

}  // namespace attn::oracle
