// SPDX-License-Identifier: Apache-2.0
#include "tests/oracle/types/types.hpp"

namespace attn::oracle {

namespace {

// Vectors u_1..u_I of one capsule, routed.
class Routing {
 public:
  Routing(Run& run, const Probability& p, int64_t outputs) : run_(run), p_(p) {
    adaptive_share_ = 1.0 / static_cast<double>(outputs);
    iterations_ = run.integer("routing_iterations", 3);
    epsilon_ = run.number("epsilon", 1e-8);
  }

  std::vector<double> operator()(const std::vector<std::vector<double>>& u) {
    std::vector<double> b(u.size(), 0.0), v;
    for (int64_t t = 1; t <= iterations_; ++t) {
      std::vector<double> c = b;
      if (canonical_probability(p_.type) == "adaptive")
        std::fill(c.begin(), c.end(), adaptive_share_);
      else
        p_.apply(run_, c);
      v.assign(u[0].size(), 0.0);
      for (size_t i = 0; i < u.size(); ++i)
        for (size_t j = 0; j < v.size(); ++j) v[j] += c[i] * u[i][j];
      double n = 0;
      for (const double e : v) n += e * e;
      for (double& e : v) e *= n / (1 + n) / std::sqrt(n + epsilon_);
      if (t < iterations_)
        for (size_t i = 0; i < u.size(); ++i)
          for (size_t j = 0; j < v.size(); ++j) b[i] += u[i][j] * v[j];
    }
    return v;
  }

 private:
  Run& run_;
  const Probability& p_;
  double adaptive_share_ = 1, epsilon_ = 1e-8;
  int64_t iterations_ = 3;
};

// A probability whose axis is forced.
Probability site(Run& run, const char* name) {
  Probability p = probability(run, name);
  p.config.erase("axis");
  return p;
}

}  // namespace

void capsule_routing(Run& run) {
  const Tensor& x = run.need("inputs");
  const int64_t H = run.integer("num_heads"), B = x.dim(0), S = x.dim(1);
  const bool biased = run.flag("use_bias", true), vertical = run.flag("use_vertical_routing", true),
             horizontal = run.flag("use_horizontal_routing", true),
             positional = run.flag("use_positional_routing", true);
  const Tensor q = qk_norm(run, "q_norm", split_heads(run.layer("query", x, biased), H));
  const Tensor k = qk_norm(run, "k_norm", split_heads(run.layer("key", x, biased), H));
  const Tensor v = split_heads(run.layer("value", x, biased), H);
  const Tensor A = scores_of(q, k, 1 / std::sqrt(static_cast<double>(q.dim(3))));
  const auto row = [&](int64_t b, int64_t h, int64_t i) {
    const auto at = A.v.begin() + static_cast<int64_t>(A.index(b, h, i, 0));
    return std::vector<double>(at, at + S);
  };
  const Probability routing = site(run, "attn_prob_routing"),
                    aggregation = site(run, "attn_prob_aggregation");
  Tensor R = A;

  if (vertical || (horizontal && !positional)) {
    Routing route(run, routing, H);
    for (int64_t b = 0; b < B; ++b)
      for (int64_t i = 0; i < S; ++i) {
        std::vector<std::vector<double>> u;
        for (int64_t h = 0; h < H; ++h) u.push_back(row(b, h, i));
        const std::vector<double> capsule = route(u);
        for (int64_t j = 0; j < S; ++j) {
          const double c = capsule[static_cast<size_t>(j)];
          if (vertical) {
            const Tensor& Wa = run.kernel("vertical_aggregation_weights");
            std::vector<double> z(static_cast<size_t>(H), 0.0);
            for (int64_t g = 0; g < H; ++g) {
              double column = 0;
              for (int64_t h = 0; h < H; ++h) column += Wa.at(h, g);
              z[static_cast<size_t>(g)] =
                  c * column + (biased ? run.kernel("vertical_aggregation_bias").at(g) : 0.0);
            }
            aggregation.apply(run, z);
            for (int64_t g = 0; g < H; ++g) R.at(b, g, i, j) += z[static_cast<size_t>(g)] * c;
          }
          if (horizontal && !positional)
            for (int64_t h = 0; h < H; ++h) R.at(b, h, i, j) += c;
        }
      }
  }
  if (horizontal && positional) {
    Routing route(run, routing, 1);
    for (int64_t b = 0; b < B; ++b)
      for (int64_t h = 0; h < H; ++h) {
        std::vector<std::vector<double>> u;
        for (int64_t l = 0; l < S; ++l) {
          u.push_back(row(b, h, l));
          const std::vector<double> X = l == 0 ? u[0] : route(u);
          for (int64_t j = 0; j < S; ++j) R.at(b, h, l, j) += X[static_cast<size_t>(j)];
        }
      }
  }
  const Tensor keep = keep_mask(run.input("attention_mask"), B, H, S, S);
  const double kept = kept_by_dropout(run, run.number("dropout_rate", 0));
  const Tensor P = weigh(run, site(run, "attn_prob_attention"), R, keep);
  const Tensor o = map(mix(P, v), [=](double e) { return e * kept; });
  run.output("output", run.layer("output", merge_heads(o), biased));
}

}  // namespace attn::oracle
