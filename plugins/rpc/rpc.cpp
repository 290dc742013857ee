// SPDX-License-Identifier: Apache-2.0
//
// Self-attention over scores that are first split into a low-rank and a sparse part: some shrinkage steps of
// principal-component pursuit (Candes, Li, Ma, Wright 2011) before the softmax.
#include <attn/sdk/plugin.hpp>

#include <cmath>

#include "pursuit.hpp"

using namespace attn::sdk;

namespace {

struct Params {
  int64_t dim = 0, num_heads = 8;
  double lambda_sparse = 0.1;
  int64_t max_pcp_iter = 10;
  double svd_threshold = 1.0;
  bool qkv_bias = false;
  double dropout_rate = 0.0;
  Setting kernel_initializer = "glorot_uniform", bias_initializer = "zeros";
  Setting kernel_regularizer, bias_regularizer;
  std::string probability_type = "softmax";
  Setting probability_config;
  std::optional<std::string> qk_norm_type;
  Setting qk_norm_kwargs;
};

struct Arguments {
  bool return_attention_scores = false;
};

struct RPCAttention : Layer<Params, Arguments> {
  static constexpr TypeInfo info{
      .id = "rpc",
      .class_name = "RPCAttention",
      .description = "Self-attention with scores cleaned by principal-component pursuit.",
      .use_case = "Short sequences with noisy or attacked scores.",
      .input_shape = "(batch, seq_len, dim)",
      .complexity = "O(num_heads * max_pcp_iter * seq_len^3)",
      .paper = "Robust Principal Component Analysis? (0912.3599)"};

  static void describe(Schema<Params, Arguments>& s) {
    s.field("dim", &Params::dim).required().above(0).doc("model width");
    s.field("num_heads", &Params::num_heads).above(0).doc("number of heads");
    s.field("lambda_sparse", &Params::lambda_sparse)
        .above(0)
        .doc("scores that differ less from the low-rank part are taken for it");
    s.field("max_pcp_iter", &Params::max_pcp_iter).above(0).doc("sweeps, exactly so many");
    s.field("svd_threshold", &Params::svd_threshold)
        .above(0)
        .doc("what is taken off every singular value of the scores");
    s.field("qkv_bias", &Params::qkv_bias).doc("biases in both projections");
    s.field("dropout_rate", &Params::dropout_rate).between(0, 1).doc("dropout on the output");
    s.field("kernel_initializer", &Params::kernel_initializer).initializer().doc("of both kernels");
    s.field("bias_initializer", &Params::bias_initializer)
        .initializer()
        .nullable()
        .doc("of both biases");
    s.field("kernel_regularizer", &Params::kernel_regularizer).regularizer().doc("of both kernels");
    s.field("bias_regularizer", &Params::bias_regularizer).regularizer().doc("of both biases");
    s.field("probability_type", &Params::probability_type).probability().doc("scores to weights");
    s.field("probability_config", &Params::probability_config)
        .options("probability_type")
        .doc("its options");
    s.field("qk_norm_type", &Params::qk_norm_type)
        .norm()
        .doc("norm of each head's queries and keys");
    s.field("qk_norm_kwargs", &Params::qk_norm_kwargs).options("qk_norm_type").doc("its options");
    s.divisible<0, 1>();
    s.argument("return_attention_scores", &Arguments::return_attention_scores)
        .alias({"return_attention_weights"})
        .doc("give the weights too");
    s.input("inputs", {"batch, seq, dim"}).doc("the sequence");
    const std::initializer_list<const char*> shapes{"key", "batch, key", "batch, query, key",
                                                    "batch, head, query, key"};
    s.input("attention_mask", shapes).mask().doc("keys that may be used (> 0)");
    s.input("mask", shapes).mask().doc("another name of attention_mask");
    s.output("output", "batch, seq, dim");
    s.output("attention_scores", "batch, head, query, key")
        .when("return_attention_scores")
        .doc("the weights that were used");
  }

  Weight qkv, qkv_bias, out, out_bias;
  Norm q_norm, k_norm;
  Probability attn_prob;

  void build(Builder& b) {
    check_at_most("max_pcp_iter", p.max_pcp_iter, kMostSweeps);
    const int64_t d = p.dim, head = p.dim / p.num_heads, columns = product("3 * dim", 3, d);
    qkv =
        b.weight("qkv_projection/kernel", {d, columns}, p.kernel_initializer, p.kernel_regularizer);
    qkv_bias = b.weight("qkv_projection/bias", {columns}, p.bias_initializer, p.bias_regularizer,
                        p.qkv_bias);
    out = b.weight("output_projection/kernel", {d, d}, p.kernel_initializer, p.kernel_regularizer);
    out_bias =
        b.weight("output_projection/bias", {d}, p.bias_initializer, p.bias_regularizer, p.qkv_bias);
    attn_prob = b.probability("attn_prob", p.probability_type, p.probability_config);
    q_norm = b.norm("q_norm", p.qk_norm_type, p.qk_norm_kwargs,
                    {-1, p.num_heads, b.positions(0, 3), head});
    k_norm = b.norm("k_norm", p.qk_norm_type, p.qk_norm_kwargs,
                    {-1, p.num_heads, b.positions(0, 3), head});
  }

  void forward(Call& c, const Arguments&) const {
    const Tensor x = c.input(0);
    check_sequence(x, p.dim);
    if (c.input(1) && c.input(2)) fail("attention_mask and mask are the same input; give only one");
    const Tensor mask = c.input(1) ? c.input(1) : c.input(2);
    const Tensor a = linear(x, c[qkv], c[qkv_bias]);
    const Tensor q = norm(c, q_norm, split_heads(a, p.num_heads, 0, 3));
    const Tensor k = norm(c, k_norm, split_heads(a, p.num_heads, 1, 3));
    const Tensor v = split_heads(a, p.num_heads, 2, 3);
    const int64_t head = p.dim / p.num_heads;
    const double scale = 1.0 / std::sqrt(static_cast<double>(head));
    const Tensor weights = probability(c, attn_prob, clean(q, k, scale, mask), mask);
    // What a masked token holds reaches nobody.
    const Tensor o = matmul(weights, v, {.skip_zeros = true});
    if (c.wants(1)) c.output(1, weights);
    const Tensor y = linear(merge_heads(o), c[out], c[out_bias]);
    c.output(0, dropout(c, y, p.dropout_rate));
  }

 private:
  static constexpr int64_t kMostSweeps = 1 << 20;  // each is kept for the gradient

  // The scores, low-rank and sparse part.
  Tensor clean(const Tensor& q, const Tensor& k, double scale, const Tensor& mask) const {
    const Tensor scores = matmul(q, k, {.transpose_b = true, .alpha = scale});
    return std::move(call<rpc::pursuit, 1>(
        scores,
        std::array{attn_prob.c->attrs[1], detail::real_value(p.lambda_sparse),
                   detail::real_value(p.svd_threshold), detail::int_value(p.max_pcp_iter)},
        std::array<const Tensor*, 2>{&scores, detail::given(mask)})[0]);
  }
};

}  // namespace

ATTN_PLUGIN("rpc", "1.0.0", "Apache-2.0", RPCAttention, Operator<rpc::pursuit>)
