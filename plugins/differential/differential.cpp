// SPDX-License-Identifier: Apache-2.0
//
// Self-attention with two maps over the same values, the second taken from the first (Ye et al.
// 2024, eq. 1-3).
#include <attn/sdk/plugin.hpp>

#include "blend.hpp"

#include <algorithm>
#include <cmath>

using namespace attn::sdk;

namespace {

struct Params : blocks::KernelsAndBiases,
                blocks::ProbabilityChoice,
                blocks::WindowedScores,
                blocks::QkNorm {
  int64_t dim = 0, num_heads = 0, head_dim = 0;
  double dropout_rate = 0.0, attention_dropout_rate = 0.0, lambda_init = 0.8;
  ComponentSpec activity_regularizer;
};

struct Arguments {
  int64_t layer_idx = 0;
  std::optional<bool> use_causal_mask;  // null: only with a state
};

// Share of lambda_param that counts at a depth: 0.2 at first, towards 0.8 (section 3.1 of the
// paper counts layers from 1).
double lambda_factor(int64_t layer_idx) {
  const auto depth = static_cast<double>(std::max<int64_t>(layer_idx, 1)) - 1;
  return 0.8 - 0.6 * std::exp(-0.3 * depth);
}

struct DifferentialMultiHeadAttention : Layer<Params, Arguments> {
  static constexpr uint32_t flags = ATTN_TYPE_STATEFUL;
  static constexpr TypeInfo info{
      .id = "differential",
      .class_name = "DifferentialMultiHeadAttention",
      .description = "Two attention maps over the same values; the second cancels noise.",
      .use_case = "Transformers that must find the relevant part of a long context.",
      .input_shape = "(batch, seq_len, dim)",
      .complexity = "O(seq_len^2 * num_heads * head_dim), two maps",
      .paper = "Differential Transformer (2410.05258)"};

  static void describe(Schema<Params, Arguments>& s) {
    s.field("dim", &Params::dim).required().above(0).doc("model width");
    s.field("num_heads", &Params::num_heads).required().above(0).doc("number of heads");
    s.field("head_dim", &Params::head_dim)
        .required()
        .above(0)
        .doc("size of a head; num_heads * head_dim may differ from dim");
    blocks::dropout(s, "dropout on the output");
    s.field("attention_dropout_rate", &Params::attention_dropout_rate)
        .between(0, 1)
        .doc("dropout on the weights of both maps");
    s.field("lambda_init", &Params::lambda_init)
        .between(0, 1)
        .doc("start value of lambda_param, the trained share of the second map");
    blocks::probability(s);
    blocks::qk_norm(s, "norm of each head's queries and keys, one for each of the four");
    blocks::kernels_and_biases(s, "of all kernels", "of all biases",
                               "of all kernels and of lambda_param");
    s.field("activity_regularizer", &Params::activity_regularizer)
        .regularizer()
        .doc("of the output");
    blocks::score_rules(s);
    s.input("inputs", {"batch, seq, dim"}).doc("the sequence");
    blocks::attention_mask(
        s, "keys that may be used (> 0), for both maps; with a state, over all positions so far");
    s.argument("layer_idx", &Arguments::layer_idx)
        .doc("depth of the layer in its stack, from 0; the second map counts more at depth");
    blocks::use_causal_mask(s);
    s.output("output", "batch, seq, dim").doc("shaped as the input");
    blocks::attention(s, &Params::qk_norm_type);
    blocks::causal(s, &Arguments::use_causal_mask);
    blocks::equivariant_unless(s, &Arguments::use_causal_mask);
    blocks::inert(s, {"key bias k1/bias", "key bias k2/bias", "query bias q1/bias",
                      "query bias q2/bias", "key norm k_norm_1", "key norm k_norm_2",
                      "query norm q_norm_1", "query norm q_norm_2"});
  }

  // What each of the two maps has for itself.
  struct Stream {
    Dense q, k;
    Norm q_norm, k_norm;
    Probability probability;
    State keys;
  };

  Weight lambda_param;
  std::array<Stream, 2> streams;
  Dense v, proj;
  State values;
  Regularizer activity;

  void build(Builder& b) {
    const int64_t width = product("num_heads * head_dim", p.num_heads, p.head_dim);
    lambda_param =
        b.constant("lambda_param", {1}, p.lambda_init, ATTN_WEIGHT_TRAINABLE, p.kernel_regularizer);
    for (size_t n = 0; n < streams.size(); ++n) {
      Stream& s = streams[n];
      const std::string number = std::to_string(n + 1);
      const auto norm = [&](const std::string& name) {
        return b.qk_norm((name + number).c_str(), p,
                         {-1, p.num_heads, b.positions(0, 3), p.head_dim});
      };
      s.q = b.dense("q" + number, p.dim, width, p, true);
      s.k = b.dense("k" + number, p.dim, width, p, true);
      s.q_norm = norm("q_norm_");
      s.k_norm = norm("k_norm_");
      s.probability = b.probability(("attn_prob_" + number).c_str(), p, p.num_heads);
      s.keys = b.history(("keys_" + number).c_str(), {-1, p.num_heads, -1, p.head_dim}, 2, 0);
    }
    v = b.dense("v", p.dim, width, p, true);
    proj = b.dense("proj", width, p.dim, p, true);
    values = b.history("values", {-1, p.num_heads, -1, p.head_dim}, 2, 0);
    activity = b.regularizer(p.activity_regularizer);
  }

  void forward(Call& c, const Arguments& a) const {
    const Tensor x = c.input(0);
    const bool causal = a.use_causal_mask.value_or(c.stateful());
    check_input(x);

    // 1.-3. Two maps over one set of values.
    const Tensor value = c.cache(values, split_heads(dense(c, v, x), p.num_heads));
    std::array<Tensor, 2> attended;
    for (size_t n = 0; n < streams.size(); ++n) attended[n] = map(c, n, x, value, causal);
    if (c.observes("lambda")) {
      const Tensor factor = affine(c[lambda_param], lambda_factor(a.layer_idx));
      c.observe("lambda", maximum(minimum(factor, differential::blend::kHighest),
                                  differential::blend::kLowest));
    }
    // 4.-5. Their difference, heads side by side, projected.
    const Tensor difference = call<differential::blend>({attended[0], attended[1], c[lambda_param]},
                                                        {lambda_factor(a.layer_idx)});
    Tensor y = dropout(c, dense(c, proj, difference), p.dropout_rate);
    penalize(c, activity, "activity", y);
    c.output(0, std::move(y));
  }

 private:
  // (batch, seq, heads * head_dim) of one map.
  Tensor map(Call& c, size_t n, const Tensor& x, const Tensor& value, bool causal) const {
    const Stream& s = streams[n];
    const Tensor q = norm(c, s.q_norm, split_heads(dense(c, s.q, x), p.num_heads));
    // With a state these are all keys so far, and the queries are the last of them.
    const Tensor k = c.cache(s.keys, norm(c, s.k_norm, split_heads(dense(c, s.k, x), p.num_heads)));
    c.label(n == 0 ? "attention_1" : "attention_2");
    const Attended o =
        attention(c, q, k, value, s.probability,
                  {.causal = causal, .dropout = p.attention_dropout_rate}, c.input(1));
    return merge_heads(o.output);
  }

  // A sequence of length 0 has an empty result.
  void check_input(const Tensor& x) const {
    if (x.rank() != 3) fail("expected 3D input (batch, seq, dim), got shape {}", x.shape());
    if (x.dim(2) != p.dim)
      fail("Input last dimension ({}) must match dim ({}), got shape {}", x.dim(2), p.dim,
           x.shape());
  }
};

}  // namespace

ATTN_PLUGIN("differential", "1.0.0", "Apache-2.0", DifferentialMultiHeadAttention,
            Operator<differential::blend>)
