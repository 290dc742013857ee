// SPDX-License-Identifier: Apache-2.0
#include "tests/oracle/types/types.hpp"

namespace attn::oracle {

void shared_weights_cross(Run& run) {
  const Tensor& x = run.need("inputs");
  const int64_t heads = run.integer("num_heads", 8), B = x.dim(0), L = x.dim(1);
  const bool biased = run.flag("use_bias", true);
  std::vector<int64_t> sizes;
  for (const Json& j : run.argument("split_sizes")->as_list()) sizes.push_back(*j.to_int64());

  const Tensor a = run.layer("qkv", x, biased);
  const Tensor q = qk_norm(run, "q_norm", split_heads(part(a, 0, 3), heads));
  const Tensor k = qk_norm(run, "k_norm", split_heads(part(a, 1, 3), heads));
  const Tensor v = split_heads(part(a, 2, 3), heads);
  const Tensor keep = keep_mask(run.input("attention_mask"), B, heads, L, L);
  const double scale = 1 / std::sqrt(static_cast<double>(q.dim(3)));
  const double kept = kept_by_dropout(run, run.number("dropout_rate", 0));
  const Probability p = probability(run, "attn_prob");

  const bool anchors = sizes.size() == 4;
  const int64_t length_a = anchors ? sizes[0] + sizes[1] : sizes[0];
  const int64_t keys_a = sizes[0], keys_b = anchors ? sizes[2] : sizes[1];
  const auto direction = [&](int64_t row, int64_t row_end, int64_t column, int64_t column_end) {
    if (row == row_end || column == column_end) return Tensor({B, heads, row_end - row, v.dim(3)});
    const Tensor z = scores_of(slice(q, 2, row, row_end), slice(k, 2, column, column_end), scale);
    const Tensor block = slice(slice(keep, 2, row, row_end), 3, column, column_end);
    return map(mix(weigh(run, p, z, block), slice(v, 2, column, column_end)),
               [=](double e) { return e * kept; });
  };
  const Tensor o = concat(direction(0, length_a, length_a, length_a + keys_b),
                          direction(length_a, L, 0, keys_a), 2);
  run.output("output", run.layer("proj", merge_heads(o), biased));
}

}  // namespace attn::oracle
