// SPDX-License-Identifier: Apache-2.0
//
// Multi-head self-attention whose heads talk to each other: scores are mixed over the heads before the softmax, and
// weights behind it (Shazeer et al. 2020, section 3).
#include <attn/sdk/plugin.hpp>

using namespace attn::sdk;

namespace {

struct Params : blocks::Kernels, blocks::ProbabilityChoice, blocks::WindowedScores, blocks::QkNorm {
  int64_t dim = 0, num_heads = 8;
  double dropout_rate = 0.0;
  bool use_bias = false;
};

struct Arguments {
  std::optional<bool> use_causal_mask;  // null: only with a state
  bool return_attention_weights = false;
};

struct TalkingHeadsAttention : Layer<Params, Arguments> {
  static constexpr uint32_t flags = ATTN_TYPE_STATEFUL;
  static constexpr TypeInfo info{
      .id = "talking_heads",
      .class_name = "TalkingHeadsAttention",
      .description = "Multi-head self-attention with heads mixed before and behind the softmax.",
      .use_case = "Transformers with many small heads.",
      .input_shape = "(batch, seq_len, dim)",
      .complexity = "O(seq_len^2 * (dim + num_heads^2))",
      .paper = "Talking-Heads Attention (2003.02436)"};

  static void describe(Schema<Params, Arguments>& s) {
    s.field("dim", &Params::dim).required().above(0).doc("model width");
    s.field("num_heads", &Params::num_heads).above(0).doc("number of heads");
    blocks::dropout(s, "dropout on the attention weights, behind the second mixing");
    blocks::kernels(s, "of all kernels, those that mix heads too");
    s.field("use_bias", &Params::use_bias).doc("biases in both projections; the mixing has none");
    blocks::probability(s);
    blocks::qk_norm(s);
    blocks::score_rules(s);
    s.divisible(&Params::dim, &Params::num_heads);
    blocks::cached_sequence(s);
    blocks::return_attention_weights(s);
    s.output("output", "batch, seq, dim").doc("shaped as the input");
    blocks::attention_weights(s);
    blocks::attention(s, &Params::qk_norm_type);
    blocks::causal(s, &Arguments::use_causal_mask);
    blocks::equivariant_unless(s, &Arguments::use_causal_mask);
    blocks::inert(s, {"key bias qkv/bias [1/3 .. 2/3)", "query bias qkv/bias [0 .. 1/3)",
                      "key norm k_norm", "query norm q_norm"});
  }

  Dense qkv, proj;
  Weight before, behind;  // (heads, heads): from, to
  Norm q_norm, k_norm;
  Probability attn_prob;
  KeyValueCache cache;

  void build(Builder& b) {
    const int64_t d = p.dim, h = p.num_heads, tokens = b.positions(0, 3);
    qkv = b.dense("qkv", d, product("3 * dim", 3, d), p);
    before = b.weight("scores_mix/kernel", {h, h}, p.kernel_initializer, p.kernel_regularizer);
    behind = b.weight("weights_mix/kernel", {h, h}, p.kernel_initializer, p.kernel_regularizer);
    proj = b.dense("proj", d, d, p);
    attn_prob = b.probability("attn_prob", p, h);
    q_norm = b.qk_norm("q_norm", p, {-1, h, tokens, d / h});
    k_norm = b.qk_norm("k_norm", p, {-1, h, tokens, d / h});
    cache = b.key_value_cache(h, d / h);
  }

  void forward(Call& c, const Arguments& a) const {
    const Tensor x = c.input(0);
    check_sequence(x, p.dim);
    const int64_t h = p.num_heads;
    const Tensor y = dense(c, qkv, x);
    const Tensor q = norm(c, q_norm, split_heads(y, h, 0, 3));
    Tensor k = norm(c, k_norm, split_heads(y, h, 1, 3)), v = split_heads(y, h, 2, 3);
    c.cache(cache, k, v);  // with a state all so far; the queries are the last of them
    const AttentionOptions options{.causal = a.use_causal_mask.value_or(c.stateful())};
    const bool shown =
        attn_prob.softcap > 0 || attn_prob.score;  // rules that meet the scores themselves
    const Attended o = shown ? by_products(c, q, k, v, options) : by_bias(c, q, k, v, options);
    const Tensor weights = dropout(c, mix(c[behind], o.weights), p.dropout_rate);
    if (c.wants(1)) c.output(1, weights);
    // What a masked token holds reaches no output.
    c.output(0, dense(c, proj, merge_heads(matmul(weights, v, {.skip_zeros = true}))));
  }

 private:
  [[nodiscard]] double scale() const {
    return 1 / std::sqrt(static_cast<double>(p.dim / p.num_heads));
  }
  // The mixed scores come as a bias of queries that are zero: masks and probabilities are those of all types.
  Attended by_bias(const Call& c, const Tensor& q, const Tensor& k, const Tensor& v,
                   const AttentionOptions& o) const {
    const Tensor scores = mix(c[before], matmul(q, k, {.transpose_b = true, .alpha = scale()}));
    const float zero = 0;
    const Tensor nothing = convert(c.constant(ATTN_F32, {}, &zero), q.dtype());
    return attention(c, broadcast_to(nothing, {q.dim(0), q.dim(1), q.dim(2), 1}),
                     broadcast_to(nothing, {k.dim(0), k.dim(1), k.dim(2), 1}), v.slice(3, 0, 1),
                     attn_prob, o, c.input(1), scores, true);
  }
  // As products, num_heads times as many: the queries of all heads, by what a map takes of each, with the keys of all.
  Attended by_products(const Call& c, const Tensor& q, const Tensor& k, const Tensor& v,
                       AttentionOptions o) const {
    const int64_t b = q.dim(0), h = p.num_heads, n = q.dim(2), d = q.dim(3);
    const Tensor shares = transpose(c[before]).reshape({1, h, 1, h, 1}),
                 all = merge_heads(q).reshape({b, 1, n, h, d});
    o.scale = scale();
    return attention(c, mul(all, shares).reshape({b, h, n, p.dim}),
                     merge_heads(k).reshape({b, 1, k.dim(2), p.dim}),
                     v.slice(1, 0, 1).slice(3, 0, 1), attn_prob, o, c.input(1), {}, true);
  }
  // y_j = sum over the heads i of kernel_ij x_i; x (B, H, Q, K).
  static Tensor mix(const Tensor& kernel, const Tensor& x) {
    const Tensor flat = x.reshape({x.dim(0), x.dim(1), x.dim(2) * x.dim(3)});
    return matmul(kernel, flat, {.transpose_a = true}).reshape(x.shape());
  }
};

}  // namespace

ATTN_PLUGIN("talking_heads", "1.0.0", "Apache-2.0", TalkingHeadsAttention)
