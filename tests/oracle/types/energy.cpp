// SPDX-License-Identifier: Apache-2.0
#include "tests/oracle/types/types.hpp"

namespace attn::oracle {

// Hoover et al. 2023, eq. 3-5: the sums of the gradient as they stand, weights (head, heads, dim).
void energy(Run& run) {
  const Tensor &g = run.need("inputs"), &wk = run.kernel("w_key"), &wq = run.kernel("w_query");
  const int64_t B = g.dim(0), N = g.dim(1), D = g.dim(2), Y = wk.dim(0), H = wk.dim(1);
  const double beta = run.number("beta", 1 / std::sqrt(static_cast<double>(Y)));
  const bool self = run.flag("attn_self", false);
  const Tensor* mask = run.input("attention_mask");
  const Tensor keep = keep_mask(mask, B, H, N, N);
  const auto project = [&](const Tensor& w) {
    Tensor out({B, H, N, Y});
    for (int64_t b = 0; b < B; ++b)
      for (int64_t h = 0; h < H; ++h)
        for (int64_t n = 0; n < N; ++n)
          for (int64_t y = 0; y < Y; ++y)
            for (int64_t d = 0; d < D; ++d) out.at(b, h, n, y) += w.at(y, h, d) * g.at(b, n, d);
    return out;
  };
  const Tensor k = project(wk), q = project(wq);
  Tensor out(g.shape), total({B});
  for (int64_t b = 0; b < B; ++b)
    for (int64_t h = 0; h < H; ++h)
      for (int64_t m = 0; m < N; ++m) {
        std::vector<double> score(static_cast<size_t>(N), -HUGE_VAL);
        for (int64_t n = 0; n < N; ++n) {
          // A mask of tokens takes them out as queries, too.
          const bool both = !mask || mask->rank() > 2 || keep.at(b, h, n, m) != 0;
          if (keep.at(b, h, m, n) == 0 || !both || (n == m && !self)) continue;
          double a = 0;
          for (int64_t y = 0; y < Y; ++y) a += k.at(b, h, n, y) * q.at(b, h, m, y);
          score[static_cast<size_t>(n)] = beta * a;
        }
        const double largest = *std::max_element(score.begin(), score.end());
        if (largest == -HUGE_VAL) continue;
        run.scored(largest);
        double sum = 0;
        for (const double s : score) sum += std::exp(s - largest);
        total.at(b) -= (largest + std::log(sum)) / beta;
        for (int64_t n = 0; n < N; ++n) {
          const double w = std::exp(score[static_cast<size_t>(n)] - largest) / sum;
          for (int64_t y = 0; y < Y; ++y)
            for (int64_t d = 0; d < D; ++d) {
              out.at(b, m, d) += wq.at(y, h, d) * k.at(b, h, n, y) * w;
              out.at(b, n, d) += wk.at(y, h, d) * q.at(b, h, m, y) * w;
            }
        }
      }
  run.output("output", out);
  const Json* asked = run.argument("return_energy");
  if (asked && asked->as_bool()) run.output("energy", total);
}

}  // namespace attn::oracle
