// SPDX-License-Identifier: Apache-2.0
#include "tests/oracle/types/types.hpp"

namespace attn::oracle {

namespace {

// SplitMix64 and Box-Muller, one stream.
class Gaussians {
 public:
  explicit Gaussians(uint64_t seed) : state_(seed) {}

  double operator()() {
    if (waiting_) {
      waiting_ = false;
      return second_;
    }
    const double u1 = uniform(), u2 = uniform(), r = std::sqrt(-2 * std::log(u1));
    second_ = r * std::sin(2 * kPi * u2);
    waiting_ = true;
    return r * std::cos(2 * kPi * u2);
  }

 private:
  static constexpr double kPi = 3.14159265358979323846;

  double uniform() {
    state_ += 0x9E3779B97F4A7C15u;
    uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    z ^= z >> 31;
    return (static_cast<double>(z >> 11) + 0.5) * 0x1p-53;
  }

  uint64_t state_;
  double second_ = 0;
  bool waiting_ = false;
};

double dot(const double* a, const double* b, int64_t n) {
  double s = 0;
  for (int64_t i = 0; i < n; ++i) s += a[i] * b[i];
  return s;
}

// 5a: logits of every allowed pair and feature, one softmax over all of them.
Tensor positive(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& w, bool causal) {
  const int64_t B = q.dim(0), H = q.dim(1), S = q.dim(2), d = q.dim(3), m = w.dim(1);
  const double root = std::pow(static_cast<double>(d), -0.25);
  Tensor out(v.shape), a({B, H, S, m}), c({B, H, S, m});
  for (int64_t b = 0; b < B; ++b)
    for (int64_t h = 0; h < H; ++h)
      for (int64_t n = 0; n < S; ++n) {
        const double *qn = &q.v[q.index(b, h, n, 0)], *kn = &k.v[k.index(b, h, n, 0)];
        for (int64_t f = 0; f < m; ++f) {
          const double* wf = &w.v[w.index(h, f, 0)];
          a.at(b, h, n, f) = root * dot(wf, qn, d);
          c.at(b, h, n, f) = root * dot(wf, kn, d) - root * root * dot(kn, kn, d) / 2;
        }
      }
  for (int64_t b = 0; b < B; ++b)
    for (int64_t h = 0; h < H; ++h)
      for (int64_t n = 0; n < S; ++n) {
        const int64_t keys = causal ? n + 1 : S;
        double largest = -std::numeric_limits<double>::infinity(), total = 0;
        for (int64_t j = 0; j < keys; ++j)
          for (int64_t f = 0; f < m; ++f)
            largest = std::max(largest, a.at(b, h, n, f) + c.at(b, h, j, f));
        for (int64_t j = 0; j < keys; ++j) {
          double weight = 0;
          for (int64_t f = 0; f < m; ++f)
            weight += std::exp(a.at(b, h, n, f) + c.at(b, h, j, f) - largest);
          total += weight;
          for (int64_t e = 0; e < d; ++e) out.at(b, h, n, e) += weight * v.at(b, h, j, e);
        }
        for (int64_t e = 0; e < d; ++e) out.at(b, h, n, e) /= total;
      }
  return out;
}

// 5b: the older arithmetic.
Tensor clamped(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& w, bool causal,
               double features) {
  const int64_t B = q.dim(0), H = q.dim(1), S = q.dim(2), d = q.dim(3), F = w.dim(1);
  const double root = 1 / std::sqrt(static_cast<double>(d)), factor = std::sqrt(2 / features);
  const auto phi = [&](const Tensor& x, double scale, bool query, int64_t b, int64_t h, int64_t n) {
    std::vector<double> row(static_cast<size_t>(d)), result(static_cast<size_t>(2 * F));
    for (int64_t e = 0; e < d; ++e) row[static_cast<size_t>(e)] = scale * x.at(b, h, n, e);
    const double decay = query ? std::exp(-dot(row.data(), row.data(), d) / 2) : 1.0;
    for (int64_t f = 0; f < F; ++f) {
      const double angle = dot(&w.v[w.index(h, f, 0)], row.data(), d);
      result[static_cast<size_t>(f)] = std::max(0.0, factor * std::cos(angle) * decay);
      result[static_cast<size_t>(F + f)] = std::max(0.0, factor * std::sin(angle) * decay);
    }
    return result;
  };
  Tensor out(v.shape);
  for (int64_t b = 0; b < B; ++b)
    for (int64_t h = 0; h < H; ++h) {
      std::vector<std::vector<double>> keys;
      for (int64_t j = 0; j < S; ++j) keys.push_back(phi(k, 1, false, b, h, j));
      for (int64_t n = 0; n < S; ++n) {
        const std::vector<double> query = phi(q, root, true, b, h, n);
        double total = 1e-6;
        for (int64_t j = 0; j < (causal ? n + 1 : S); ++j) {
          const double weight = dot(query.data(), keys[static_cast<size_t>(j)].data(), 2 * F);
          total += weight;
          for (int64_t e = 0; e < d; ++e) out.at(b, h, n, e) += weight * v.at(b, h, j, e);
        }
        for (int64_t e = 0; e < d; ++e) out.at(b, h, n, e) /= total;
      }
    }
  return out;
}

}  // namespace

Tensor performer_projection(uint64_t seed, int64_t heads, int64_t features, int64_t d,
                            double ortho_scaling, bool trig) {
  Gaussians gauss(seed);
  if (trig) {
    Tensor w({heads, features / 2, d});
    const double scale =
        (ortho_scaling > 0 ? ortho_scaling : 1) / std::sqrt(static_cast<double>(d));
    for (double& e : w.v) e = scale * gauss();
    return w;
  }
  Tensor w({heads, features, d});
  for (int64_t h = 0; h < heads; ++h)
    for (int64_t first = 0; first < features; first += d) {
      const int64_t n = std::min(d, features - first);
      const auto row = [&](int64_t r) { return &w.v[w.index(h, first + r, 0)]; };
      for (int64_t r = 0; r < n; ++r)
        for (int64_t e = 0; e < d; ++e) row(r)[e] = gauss();
      for (int64_t r = 0; r < n; ++r) {
        for (int pass = 0; pass < 2; ++pass)
          for (int64_t earlier = 0; earlier < r; ++earlier) {
            const double along = dot(row(r), row(earlier), d);
            for (int64_t e = 0; e < d; ++e) row(r)[e] -= along * row(earlier)[e];
          }
        const double length = std::sqrt(dot(row(r), row(r), d));
        for (int64_t e = 0; e < d; ++e) row(r)[e] /= length;
      }
      for (int64_t r = 0; r < n; ++r) {
        double length = ortho_scaling * std::sqrt(static_cast<double>(d));
        if (ortho_scaling == 0) {
          double squares = 0;
          for (int64_t e = 0; e < d; ++e) {
            const double g = gauss();
            squares += g * g;
          }
          length = std::sqrt(squares);
        }
        for (int64_t e = 0; e < d; ++e) row(r)[e] *= length;
      }
    }
  return w;
}

void performer(Run& run) {
  const Tensor& x = run.need("inputs");
  const int64_t heads = run.integer("num_heads", 8);
  const bool biased = run.flag("use_bias", false), causal = run.flag("causal", false);
  const Tensor a = run.layer("qkv_projection", x, biased);
  const Tensor q = split_heads(part(a, 0, 3), heads), k = split_heads(part(a, 1, 3), heads),
               v = split_heads(part(a, 2, 3), heads);
  const Tensor& w = run.kernel("projection_matrix");
  const Tensor o =
      run.text("feature_map", "positive") == "positive"
          ? positive(q, k, v, w, causal)
          : clamped(q, k, v, w, causal, static_cast<double>(run.integer("nb_features", 256)));
  const double kept = kept_by_dropout(run, run.number("dropout_rate", 0));
  run.output("output", map(run.layer("output_projection", merge_heads(o), biased),
                           [=](double e) { return e * kept; }));
}

}  // namespace attn::oracle
