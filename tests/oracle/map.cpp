// SPDX-License-Identifier: Apache-2.0
//
// Feature maps: convolutions and the two gates of CBAM.
#include "tests/oracle/parts.hpp"

namespace attn::oracle {

Tensor depthwise(const Tensor& x, const Tensor& kernel, const Tensor* bias, Padding p) {
  const int64_t B = x.dim(0), H = x.dim(1), W = x.dim(2), C = x.dim(3);
  Tensor out({B, p.out_h, p.out_w, C});
  for (int64_t b = 0; b < B; ++b)
    for (int64_t i = 0; i < p.out_h; ++i)
      for (int64_t j = 0; j < p.out_w; ++j)
        for (int64_t c = 0; c < C; ++c) {
          double s = bias ? bias->v[static_cast<size_t>(c)] : 0.0;
          for (int64_t r = 0; r < kernel.dim(0); ++r)
            for (int64_t t = 0; t < kernel.dim(1); ++t) {
              const int64_t h = p.stride * i + r - p.before_h, w = p.stride * j + t - p.before_w;
              if (h >= 0 && h < H && w >= 0 && w < W) s += kernel.at(r, t, c, 0) * x.at(b, h, w, c);
            }
          out.at(b, i, j, c) = s;
        }
  return out;
}

Tensor channel_logits(Run& run, const std::string& site, const Tensor& x, bool biased,
                      const char* parameter, const char* args) {
  const int64_t B = x.dim(0), pixels = x.dim(1) * x.dim(2), C = x.dim(3);
  Tensor average({B, C}), largest({B, C}, -std::numeric_limits<double>::infinity());
  for (int64_t b = 0; b < B; ++b)
    for (int64_t n = 0; n < pixels; ++n)
      for (int64_t c = 0; c < C; ++c) {
        const double e = x.v[static_cast<size_t>((b * pixels + n) * C + c)];
        average.at(b, c) += e / static_cast<double>(pixels);
        largest.at(b, c) = std::max(largest.at(b, c), e);
      }
  const auto perceptron = [&](const Tensor& d) {
    const Tensor hidden = run.layer(site + "_dense_1", d, biased);
    const Tensor active = parameter ? activation_of(run, site + "_intermediate_activation",
                                                    parameter, "relu", args, hidden)
                                    : map(hidden, [](double e) { return std::max(e, 0.0); });
    return run.layer(site + "_dense_2", active, biased);
  };
  return add(perceptron(average), perceptron(largest));
}

Tensor spatial_logits(const Run& run, const std::string& site, const Tensor& x, int64_t size,
                      bool biased) {
  const int64_t B = x.dim(0), H = x.dim(1), W = x.dim(2), C = x.dim(3), r = (size - 1) / 2;
  const Tensor& kernel = run.kernel(site + "_conv/kernel");
  Tensor pooled({B, H, W, 2});
  for (int64_t b = 0; b < B; ++b)
    for (int64_t h = 0; h < H; ++h)
      for (int64_t w = 0; w < W; ++w) {
        double total = 0, largest = -std::numeric_limits<double>::infinity();
        for (int64_t c = 0; c < C; ++c) {
          total += x.at(b, h, w, c);
          largest = std::max(largest, x.at(b, h, w, c));
        }
        pooled.at(b, h, w, 0) = total / static_cast<double>(C);
        pooled.at(b, h, w, 1) = largest;
      }
  Tensor out({B, H, W, 1});
  for (int64_t b = 0; b < B; ++b)
    for (int64_t h = 0; h < H; ++h)
      for (int64_t w = 0; w < W; ++w) {
        double z = biased ? run.scalar(site + "_conv/bias") : 0.0;
        for (int64_t i = 0; i < size; ++i)
          for (int64_t j = 0; j < size; ++j) {
            const int64_t y = h + i - r, c = w + j - r;
            if (y < 0 || y >= H || c < 0 || c >= W) continue;
            for (int64_t t = 0; t < 2; ++t) z += kernel.at(i, j, t, 0) * pooled.at(b, y, c, t);
          }
        out.at(b, h, w, 0) = z;
      }
  return out;
}

}  // namespace attn::oracle
