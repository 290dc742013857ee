// SPDX-License-Identifier: Apache-2.0
//
// Multi-head self-attention (Vaswani et al. 2017, eq. 1 and section 3.2.2).
#include <attn/sdk/plugin.hpp>

using namespace attn::sdk;

namespace {

struct Params : blocks::ProbabilityChoice, blocks::WindowedScores, blocks::QkNorm {
  int64_t dim = 0, num_heads = 8;
  double dropout_rate = 0.0;
  ComponentSpec kernel_initializer = "he_normal", kernel_regularizer;
  bool use_bias = false;
};

struct Arguments {
  std::optional<bool> use_causal_mask;  // null: only with a state
};

struct MultiHeadAttention : Layer<Params, Arguments> {
  static constexpr uint32_t flags = ATTN_TYPE_STATEFUL;
  static constexpr TypeInfo info{
      .id = "multi_head",
      .class_name = "MultiHeadAttention",
      .description =
          "Standard multi-head self-attention: every position attends to every position.",
      .use_case = "The default for encoders and vision transformers.",
      .input_shape = "(batch, seq_len, dim)",
      .complexity = "O(seq_len^2 * dim)",
      .paper = "Attention Is All You Need (1706.03762)"};

  static void describe(Schema<Params, Arguments>& s) {
    s.field("dim", &Params::dim).required().above(0).doc("model width");
    s.field("num_heads", &Params::num_heads).above(0).doc("number of heads");
    blocks::dropout(s);
    blocks::kernels(s, "of both kernels");
    s.field("use_bias", &Params::use_bias).doc("biases in both projections");
    blocks::probability(s);
    blocks::qk_norm(s);
    blocks::score_rules(s);
    s.divisible(&Params::dim, &Params::num_heads);
    blocks::cached_sequence(s);
    s.output("output", "batch, seq, dim").doc("shaped as the input");
    blocks::attention(s, &Params::qk_norm_type);
    blocks::causal(s, &Arguments::use_causal_mask);
    blocks::equivariant_unless(s, &Arguments::use_causal_mask);
    blocks::inert(s, {"key bias cross_attention/qkv/bias [1/3 .. 2/3)",
                      "query bias cross_attention/qkv/bias [0 .. 1/3)",
                      "key norm cross_attention/k_norm", "query norm cross_attention/q_norm"});
  }

  Dense qkv, proj;
  Norm q_norm, k_norm;
  Probability attn_prob;
  KeyValueCache cache;

  void build(Builder& b) {
    const int64_t d = p.dim, h = p.num_heads, tokens = b.positions(0, 3);
    qkv = b.dense("cross_attention/qkv", d, product("3 * dim", 3, d), p);
    proj = b.dense("cross_attention/proj", d, d, p);
    attn_prob = b.probability("cross_attention/attn_prob", p, p.num_heads);
    q_norm = b.qk_norm("cross_attention/q_norm", p, {-1, h, tokens, d / h});
    k_norm = b.qk_norm("cross_attention/k_norm", p, {-1, h, tokens, d / h});
    cache = b.key_value_cache(h, d / h);
  }

  void forward(Call& c, const Arguments& a) const {
    const Tensor x = c.input(0);
    check_sequence(x, p.dim);
    const Tensor y = dense(c, qkv, x);
    const Tensor q = norm(c, q_norm, split_heads(y, p.num_heads, 0, 3));
    Tensor k = norm(c, k_norm, split_heads(y, p.num_heads, 1, 3));
    Tensor v = split_heads(y, p.num_heads, 2, 3);
    c.cache(cache, k, v);  // with a state all so far; the queries are the last of them
    const AttentionOptions options{.causal = a.use_causal_mask.value_or(c.stateful()),
                                   .dropout = p.dropout_rate};
    const Attended o = attention(c, q, k, v, attn_prob, options, c.input(1));
    c.output(0, dense(c, proj, merge_heads(o.output)));
  }
};

}  // namespace

ATTN_PLUGIN("multi_head", "1.0.0", "Apache-2.0", MultiHeadAttention)
