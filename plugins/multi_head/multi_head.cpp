// SPDX-License-Identifier: Apache-2.0
//
// Multi-head self-attention (Vaswani et al. 2017, eq. 1 and section 3.2.2).
#include <attn/sdk/plugin.hpp>

#include <cmath>

using namespace attn::sdk;

namespace {

struct Params {
  int64_t dim = 0, num_heads = 8;
  double dropout_rate = 0.0;
  Setting kernel_initializer = "he_normal", kernel_regularizer;
  bool use_bias = false;
  std::string probability_type = "softmax";
  Setting probability_config;
  std::optional<std::string> qk_norm_type;
  Setting qk_norm_kwargs;
};

struct Arguments {
  std::optional<bool> use_causal_mask;  // null: only with a state
};

struct MultiHeadAttention : Layer<Params, Arguments> {
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
    s.field("dropout_rate", &Params::dropout_rate)
        .between(0, 1)
        .doc("dropout on the attention weights");
    s.field("kernel_initializer", &Params::kernel_initializer).initializer().doc("of both kernels");
    s.field("kernel_regularizer", &Params::kernel_regularizer).regularizer().doc("of both kernels");
    s.field("use_bias", &Params::use_bias).doc("biases in both projections");
    s.field("probability_type", &Params::probability_type).probability().doc("scores to weights");
    s.field("probability_config", &Params::probability_config)
        .options("probability_type")
        .doc("its options");
    s.field("qk_norm_type", &Params::qk_norm_type)
        .norm()
        .doc("norm of each head's queries and keys");
    s.field("qk_norm_kwargs", &Params::qk_norm_kwargs).options("qk_norm_type").doc("its options");
    s.divisible<0, 1>();
    s.input("inputs", {"batch, seq, dim"}).doc("the sequence");
    s.input("attention_mask", {"key", "batch, key", "batch, query, key", "batch, head, query, key"})
        .mask()
        .doc("keys that may be used (> 0); with a state, over all positions so far");
    s.argument("use_causal_mask", &Arguments::use_causal_mask)
        .causal()
        .doc("a position uses itself and earlier ones only; null: true with a state, else false");
    s.output("output", "batch, seq, dim");
  }

  Weight qkv, qkv_bias, proj, proj_bias;
  Norm q_norm, k_norm;
  Probability attn_prob;
  State key_cache, value_cache;

  void build(Builder& b) {
    const int64_t d = p.dim, head = p.dim / p.num_heads, columns = product("3 * dim", 3, d);
    qkv = b.weight("cross_attention/qkv/kernel", {d, columns}, p.kernel_initializer,
                   p.kernel_regularizer);
    qkv_bias = b.weight("cross_attention/qkv/bias", {columns}, "zeros", {}, p.use_bias);
    proj =
        b.weight("cross_attention/proj/kernel", {d, d}, p.kernel_initializer, p.kernel_regularizer);
    proj_bias = b.weight("cross_attention/proj/bias", {d}, "zeros", {}, p.use_bias);
    attn_prob =
        b.probability("cross_attention/attn_prob", p.probability_type, p.probability_config);
    const int64_t tokens = b.positions(0, 3);
    q_norm = b.norm("cross_attention/q_norm", p.qk_norm_type, p.qk_norm_kwargs,
                    {-1, p.num_heads, tokens, head});
    k_norm = b.norm("cross_attention/k_norm", p.qk_norm_type, p.qk_norm_kwargs,
                    {-1, p.num_heads, tokens, head});
    key_cache = b.history("keys", {-1, p.num_heads, -1, head}, 2, 0);
    value_cache = b.history("values", {-1, p.num_heads, -1, head}, 2, 0);
  }

  void forward(Call& c, const Arguments& arguments) const {
    const Tensor x = c.input(0);
    const bool causal = arguments.use_causal_mask.value_or(c.stateful());
    check_sequence(x, p.dim);
    const Tensor a = linear(x, c[qkv], c[qkv_bias]);
    const Tensor q = norm(c, q_norm, split_heads(a, p.num_heads, 0, 3));
    // With a state these are all keys and values so far, and the queries are the last of them.
    const Tensor k = c.cache(key_cache, norm(c, k_norm, split_heads(a, p.num_heads, 1, 3)));
    const Tensor v = c.cache(value_cache, split_heads(a, p.num_heads, 2, 3));
    const double scale = 1.0 / std::sqrt(static_cast<double>(p.dim / p.num_heads));
    const Attended o = attention(c, q, k, v, attn_prob,
                                 {.scale = scale,
                                  .causal = causal,
                                  .offset = k.dim(2) - q.dim(2),
                                  .dropout = c.training() ? p.dropout_rate : 0.0},
                                 c.input(1));
    c.output(0, linear(merge_heads(o.output), c[proj], c[proj_bias]));
  }
};

}  // namespace

ATTN_PLUGIN("multi_head", "1.0.0", "Apache-2.0", MultiHeadAttention)
