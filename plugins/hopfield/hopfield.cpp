// SPDX-License-Identifier: Apache-2.0
//
// A modern Hopfield network: attention whose queries move towards the stored patterns step by step
// before the values are read (Ramsauer et al. 2020, eq. 3).
#include <attn/sdk/plugin.hpp>

#include "convergence.hpp"

#include <algorithm>

using namespace attn::sdk;

namespace {

struct Params : blocks::KernelsAndBiases, blocks::ProbabilityChoice, blocks::Score {
  int64_t num_heads = 0, key_dim = 0, update_steps_max = 0;
  double update_steps_eps = 1e-4;
  std::optional<int64_t> value_dim;
  double dropout_rate = 0.0;
  bool use_bias = true;
  std::optional<std::string> qk_norm_type = "layer_norm";
  ComponentSpec qk_norm_kwargs;
  ComponentSpec activity_regularizer;
};

struct Arguments {
  bool return_attention_scores = false;
};

enum Port { kQuery, kKey, kValue, kMask };

struct HopfieldAttention : Layer<Params, Arguments> {
  static constexpr TypeInfo info{
      .id = "hopfield",
      .class_name = "HopfieldAttention",
      .description = "Associative memory: queries are refined towards the stored patterns.",
      .use_case = "Retrieval of patterns, pooling over sets, multiple instance learning.",
      .input_shape = "(batch, seq_len, dim) or [query, key, value]",
      .complexity = "O(query_len * key_len * key_dim) for each head and update step",
      .paper = "Hopfield Networks is All You Need (2008.02217)"};

  static void describe(Schema<Params, Arguments>& s) {
    s.field("num_heads", &Params::num_heads).required().above(0).doc("number of heads");
    s.field("key_dim", &Params::key_dim)
        .required()
        .above(0)
        .doc("size of a head's queries and keys");
    s.field("update_steps_max", &Params::update_steps_max)
        .at_least(0)
        .doc("updates of the queries before the values are read; 0: ordinary attention");
    s.field("update_steps_eps", &Params::update_steps_eps)
        .above(0)
        .doc("a head whose weights change by less (Frobenius norm) is not updated any more");
    s.field("value_dim", &Params::value_dim).above(0).doc("size of a head's values; null: key_dim");
    blocks::dropout(s, "dropout on the attention weights, drawn again in every step");
    s.field("use_bias", &Params::use_bias).doc("biases in all four projections");
    blocks::probability(s);
    blocks::qk_norm(s, "norm of each head's queries and keys, before the first step");
    blocks::kernels_and_biases(s, "of all kernels", "of all biases");
    s.field("activity_regularizer", &Params::activity_regularizer)
        .regularizer()
        .doc("of the outputs of the four projections, and of the layer's once more");
    blocks::score_rules(s, "b h q k H K");  // queries come in blocks
    s.input("query", {"batch, query, query_dim"})
        .alias({"inputs"})
        .doc("the state patterns (queries); alone they are the stored patterns, too");
    s.input("key", {"batch, key, key_width"}).optional().doc("the stored patterns");
    s.input("value", {"batch, key, value_width"})
        .optional()
        .doc("what is read; without it the stored patterns");
    blocks::attention_mask(s, "keys that may be used (> 0), in every step");
    s.argument("return_attention_scores", &Arguments::return_attention_scores)
        .alias({"return_attention_weights"})
        .doc("also give the weights that read the values");
    s.output("output", "batch, query, query_dim").doc("shaped as the queries");
    s.output("attention_scores", "batch, head, query, key")
        .when("return_attention_scores")
        .doc("after dropout in training");
    blocks::batch_independent(s, &Params::qk_norm_type);
    s.claims({Claim::deterministic, Claim::mask_neutral, Claim::equivariant});
    s.claim(Claim::invariant, "key");
    blocks::over_keys(s.claim(Claim::mask_respected))
        .when("update_steps_max < 2", [](const Params& p) { return p.update_steps_max < 2; });
    for (const char* weight : {"key bias key_dense/bias", "query bias query_dense/bias",
                               "key norm k_norm", "query norm q_norm"})
      s.claim(Claim::inert, weight).when("update_steps_max = 0", [](const Params& p) {
        return p.update_steps_max == 0;
      });
    s.claim(Claim::inert, "others")
        .when("key_dim = 1 and qk_norm_type = layer_norm",
              [](const Params& p) { return p.key_dim == 1 && p.qk_norm_type == "layer_norm"; });
  }

  int64_t heads = 0;
  Dense query_dense, key_dense, value_dense, output_dense;
  Norm q_norm, k_norm;
  Probability attn_prob;
  Regularizer activity;

  void build(Builder& b) {
    const attn_shape& query = b.input(kQuery);
    const attn_shape& key = b.input(kKey).present ? b.input(kKey) : query;
    const attn_shape& value = b.input(kValue).present ? b.input(kValue) : key;
    const int64_t query_width = width(query, "query"), key_width = width(key, "key"),
                  value_width = width(value, "value");
    check_at_most("update_steps_max", p.update_steps_max, kMostSteps);
    heads = p.num_heads;
    const int64_t d = p.key_dim, e = p.value_dim.value_or(d);
    const int64_t keys = product("num_heads * key_dim", heads, d),
                  values = product("num_heads * value_dim", heads, e);
    query_dense = b.dense("query_dense", query_width, keys, p);
    key_dense = b.dense("key_dense", key_width, keys, p);
    value_dense = b.dense("value_dense", value_width, values, p);
    output_dense = b.dense("output_dense", values, query_width, p);
    q_norm = b.qk_norm("q_norm", p, {-1, heads, query.dim[1], d});
    k_norm = b.qk_norm("k_norm", p, {-1, heads, key.dim[1], d});
    attn_prob = b.probability("attn_prob", p, heads);
    activity = b.regularizer(p.activity_regularizer);
  }

  void forward(Call& c, const Arguments&) const {
    const auto [query, key, value] = patterns(c);
    const auto project = [&](const Dense& w, const Tensor& x, const char* name) {
      const Tensor y = dense(c, w, x);
      penalize(c, activity, name, y);
      return y;
    };
    // 1. and 2. Heads, normalised once.
    const Tensor q =
        norm(c, q_norm, split_heads(project(query_dense, query, "query_dense/activity"), heads));
    const Tensor k =
        norm(c, k_norm, split_heads(project(key_dense, key, "key_dense/activity"), heads));
    const Tensor v = split_heads(project(value_dense, value, "value_dense/activity"), heads);
    // 3. The queries iterate among the keys; 4. the values are read where they stand.
    const Tensor converged = iterate(c, q, k);
    const Attended o = attend(c, converged, k, v, c.input(kMask), p.dropout_rate, c.wants(1));
    const Tensor y = project(output_dense, merge_heads(o.output), "output_dense/activity");
    penalize(c, activity, "activity", y);
    c.output(0, y);
    if (c.wants(1)) c.output(1, o.weights);
  }

 private:
  static constexpr int64_t kMostSteps = 1 << 20;  // heads that never converge come to an end

  struct Patterns {
    Tensor query, key, value;
  };

  static int64_t width(const attn_shape& s, const char* what) {
    if (s.rank != 3 || s.dim[2] <= 0)
      fail("{} must be 3D (batch, seq, dim) with a known last dimension to build the layer", what);
    return s.dim[2];
  }

  // One, two or three tensors to three.
  [[nodiscard]] Patterns patterns(const Call& c) const {
    Patterns x{c.input(kQuery), c.input(kKey), c.input(kValue)};
    if (x.value && !x.key)
      fail(
          "value was given without key; expected 2 or 3 inputs, query, key and perhaps value, or "
          "query alone");
    if (!x.key) x.key = x.query;
    if (!x.value) x.value = x.key;
    check_pattern(c, x.query, query_dense, "query");
    check_pattern(c, x.key, key_dense, "key");
    check_pattern(c, x.value, value_dense, "value");
    if (x.key.dim(0) != x.query.dim(0) || x.value.dim(0) != x.query.dim(0))
      fail("query, key and value must have one batch size, got shapes {}, {} and {}",
           x.query.shape(), x.key.shape(), x.value.shape());
    if (x.value.dim(1) != x.key.dim(1))
      fail("key and value must have one length, got shapes {} and {}", x.key.shape(),
           x.value.shape());
    return x;
  }
  static void check_pattern(const Call& c, const Tensor& x, const Dense& w, const char* what) {
    const int64_t width = c[w.kernel].dim(0);
    if (x.rank() != 3) fail("{} must be 3D (batch, seq, dim), got shape {}", what, x.shape());
    if (x.dim(2) != width)
      fail("{} has last dimension {}, but the layer was built for {}, got shape {}", what, x.dim(2),
           width, x.shape());
    check_not_empty(x, what);
  }

  // first: the position of the first query.
  Attended attend(const Call& c, const Tensor& q, const Tensor& k, const Tensor& v,
                  const Tensor& mask, double dropout, bool want_weights, int64_t first = 0) const {
    AttentionOptions o{.dropout = dropout};
    if (attn_prob.apart) o.offset = first;
    return attention(c, q, k, v, attn_prob, o, mask, {}, want_weights);
  }

  // Scores that follow rules are no products of patterns any more, of which the energy is.
  [[nodiscard]] bool has_energy() const {
    return !attn_prob.other_axis() && attn_prob.kind() == ProbabilityKind::softmax &&
           attn_prob.softcap == 0 && !attn_prob.sinks && !attn_prob.has_program();
  }
  // Of each query (B, H, Q), but for a constant: |q|^2 / 2 - log-sum-exp(beta q k) / beta, which softmax updates lower;
  // beta is the scale of the scores.
  [[nodiscard]] Tensor energy(const Call& c, const Tensor& q, const Tensor& k,
                              const Tensor& mask) const {
    const double beta = 1 / std::sqrt(static_cast<double>(q.dim(3)));
    const Tensor lse = attention(c, q, k, k.slice(3, 0, 1), attn_prob, {.scale = beta}, mask, {},
                                 false, {}, {.want_lse = true})
                           .lse;
    return add(affine(sum(mul(q, q), {3}), 0.5), affine(lse, -1 / beta));
  }

  // The queries after all updates. A head of a batch element whose weights moved by less than eps
  // from one step to the next stays where it is. The last step decides nothing.
  Tensor iterate(Call& c, Tensor q, const Tensor& k) const {
    const int64_t steps = p.update_steps_max;
    Steps iteration(*this, c, q, k);
    for (int64_t t = 0; t < steps; ++t) {
      iteration.look(q, t);
      int64_t count = 0;
      Tensor converged;
      if (t > 0) {
        converged = iteration.converged();
        count = count_positive(converged);
        if (count == converged.size()) break;
      }
      Tensor next = iteration.update(q, t);
      q = count == 0 ? std::move(next) : where(converged, q, next);
    }
    return q;
  }

  // Updates of the queries, and which heads have converged.
  //
  // With few queries the weights of a step are kept for the next one. With many they are computed
  // again, for a block of queries at a time: as a rule the first blocks show that every head has
  // moved by more than eps, and the rest need not be looked at.
  class Steps {
   public:
    Steps(const HopfieldAttention& layer, Call& c, const Tensor& q, const Tensor& k)
        : layer_(layer), c_(c), k_(k), mask_(c.input(kMask)), tests_(layer.p.update_steps_max > 1) {
      // What is compared is not what is used where gradients are recorded or weights dropped.
      apart_ = tests_ && ((c.raw().flags & ATTN_CALL_RECORDING) != 0 ||
                          (c.training() && layer.p.dropout_rate > 0));
      row_ = q.dim(0) * q.dim(1) * k.dim(2);
      // Probabilities over the queries need all of them.
      whole_ = (q.dim(2) <= kFewQueries && q.dim(2) * row_ <= kMostWeights) ||
               layer.attn_prob.other_axis();
      seen_k_ = apart_ ? glance(k) : k;
    }

    // Where the queries stand before step t.
    void look(const Tensor& q, int64_t t) {
      if (!tests_) return;
      before_ = std::move(now_);
      now_ = {apart_ ? glance(q) : q, {}};
      next_ = {};
      if (!whole_) return;
      if (apart_) {
        now_.weights = weights(now_.q, 0, q.dim(2));
      } else {
        Attended a = step(q, t, true);
        next_ = std::move(a.output);
        now_.weights = std::move(a.weights);
      }
    }
    // Where they go.
    Tensor update(const Tensor& q, int64_t t) {
      return next_ ? std::move(next_) : step(q, t, false).output;
    }

    // (B, H, 1, 1): above 0 where the weights before dropout changed by less than eps since the last
    // look, or did so earlier.
    Tensor converged() {
      Tensor sum;
      if (whole_) {
        sum = squares(now_.weights, before_.weights, {});
      } else {
        const int64_t queries = now_.q.dim(2);
        const int64_t most = std::max(kLeastBlock, kMostWeights / std::max<int64_t>(row_, 1));
        int64_t block = std::min(kFirstBlock, most);
        for (int64_t begin = 0, end = 0; begin < queries; begin = end) {
          end = std::min(queries, begin + block);
          sum = squares(weights(now_.q, begin, end), weights(before_.q, begin, end), sum);
          block = std::min(2 * block, most);
          if (end < queries && all_moved(sum)) break;
        }
      }
      const Tensor now = below_eps(sum);
      converged_ = converged_ ? maximum(converged_, now) : now;
      return converged_;
    }

   private:
    static constexpr int64_t kFewQueries = 128, kFirstBlock = 12, kLeastBlock = 32;
    // Weights that are held at once: 64 MB in float32.
    static constexpr int64_t kMostWeights = int64_t{1} << 24;
    struct Seen {
      Tensor q, weights;
    };

    Attended step(const Tensor& q, int64_t t, bool want_weights) const {
      const std::string label = "step_" + std::to_string(t);
      if (layer_.has_energy() && c_.observes("energy")) {
        c_.label("energy");
        const Tensor energy = layer_.energy(c_, q, k_, mask_);
        c_.label(label.c_str());
        c_.observe("energy", energy);
      }
      c_.label(label.c_str());
      return layer_.attend(c_, q, k_, k_, mask_, layer_.p.dropout_rate, want_weights);
    }
    [[nodiscard]] Tensor below_eps(const Tensor& sum) const {
      return affine(sqrt(sum), -1, layer_.p.update_steps_eps);
    }
    // More queries can only add to the sums: nothing that is not converged will be.
    [[nodiscard]] bool all_moved(const Tensor& sum) const {
      const Tensor open = below_eps(sum);
      return count_positive(converged_ ? where(converged_, affine(open, 0), open) : open) == 0;
    }
    static Tensor glance(const Tensor& x) { return call<hopfield::glance>({x}); }
    static Tensor squares(const Tensor& now, const Tensor& before, const Tensor& sum) {
      return call<hopfield::change>({now, before, sum});
    }
    // Weights of some queries; of the values one component is enough.
    Tensor weights(const Tensor& q, int64_t begin, int64_t end) const {
      Tensor mask = mask_;
      if (mask && mask.rank() >= 3 && mask.dim(-2) == q.dim(2) && end - begin < q.dim(2))
        mask = mask.slice(mask.rank() - 2, begin, end);
      c_.label("settling");
      return layer_
          .attend(c_, q.slice(2, begin, end), seen_k_, seen_k_.slice(3, 0, 1), mask, 0, true, begin)
          .weights;
    }

    const HopfieldAttention& layer_;
    Call& c_;
    Tensor k_, seen_k_, mask_;
    bool tests_, apart_ = false, whole_ = true;
    int64_t row_ = 0;  // weights of one query, of all heads
    Seen now_, before_;
    Tensor next_, converged_;
  };

  static int64_t count_positive(const Tensor& x) {
    const attn_view v = x.read();
    int64_t n = 0;
    for (int64_t b = 0; b < v.shape[0]; ++b)
      for (int64_t h = 0; h < v.shape[1]; ++h) {
        const int64_t at = b * v.stride[0] + h * v.stride[1];
        n += v.dtype == ATTN_F64 ? data<double>(v)[at] > 0 : data<float>(v)[at] > 0;
      }
    return n;
  }
};

}  // namespace

ATTN_PLUGIN("hopfield", "1.0.0", "Apache-2.0", HopfieldAttention, Operator<hopfield::change>,
            Operator<hopfield::glance>)
