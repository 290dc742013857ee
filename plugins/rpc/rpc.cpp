// SPDX-License-Identifier: Apache-2.0
//
// Self-attention over scores that are first split into a low-rank and a sparse part: some shrinkage steps of
// principal-component pursuit (Candes, Li, Ma, Wright 2011) before the softmax.
#include <attn/sdk/plugin.hpp>

#include <cmath>

#include "pursuit.hpp"

using namespace attn::sdk;

namespace {

struct Params : blocks::KernelsAndBiases, blocks::ProbabilityChoice, blocks::QkNorm {
  int64_t dim = 0, num_heads = 8;
  double lambda_sparse = 0.1;
  int64_t max_pcp_iter = 10;
  double svd_threshold = 1.0;
  bool qkv_bias = false;
  double dropout_rate = 0.0;
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
    blocks::dropout(s, "dropout on the output");
    blocks::kernels_and_biases(s, "of both kernels", "of both biases");
    blocks::probability(s);
    blocks::qk_norm(s);
    s.divisible(&Params::dim, &Params::num_heads);
    s.argument("return_attention_scores", &Arguments::return_attention_scores)
        .alias({"return_attention_weights"})
        .doc("give the weights too");
    s.input("inputs", {"batch, seq, dim"}).doc("the sequence");
    blocks::attention_mask(s).alias({"mask"});
    s.output("output", "batch, seq, dim").doc("shaped as the input");
    s.output("attention_scores", "batch, head, query, key")
        .when("return_attention_scores")
        .doc("the weights that were used");
    blocks::attention(s, &Params::qk_norm_type);
    s.claim(Claim::equivariant);
  }

  Dense qkv, out;
  Norm q_norm, k_norm;
  Probability attn_prob;

  void build(Builder& b) {
    check_at_most("max_pcp_iter", p.max_pcp_iter, kMostSweeps);
    const int64_t d = p.dim, head = p.dim / p.num_heads, columns = product("3 * dim", 3, d);
    qkv = b.dense("qkv_projection", d, columns, p, p.qkv_bias);
    out = b.dense("output_projection", d, d, p, p.qkv_bias);
    attn_prob = b.probability("attn_prob", p);
    q_norm = b.qk_norm("q_norm", p, {-1, p.num_heads, b.positions(0, 3), head});
    k_norm = b.qk_norm("k_norm", p, {-1, p.num_heads, b.positions(0, 3), head});
  }

  void forward(Call& c, const Arguments&) const {
    const Tensor x = c.input(0);
    check_sequence(x, p.dim);
    const Tensor mask = c.input(1);
    const Tensor a = dense(c, qkv, x);
    const Tensor q = norm(c, q_norm, split_heads(a, p.num_heads, 0, 3));
    const Tensor k = norm(c, k_norm, split_heads(a, p.num_heads, 1, 3));
    const Tensor v = split_heads(a, p.num_heads, 2, 3);
    const int64_t head = p.dim / p.num_heads;
    const double scale = 1.0 / std::sqrt(static_cast<double>(head));
    const Tensor weights = probability(c, attn_prob, clean(q, k, scale, mask), mask);
    c.observe("map", weights);
    // What a masked token holds reaches no output.
    const Tensor o = matmul(weights, v, {.skip_zeros = true});
    if (c.wants(1)) c.output(1, weights);
    const Tensor y = dense(c, out, merge_heads(o));
    c.output(0, dropout(c, y, p.dropout_rate));
  }

 private:
  static constexpr int64_t kMostSweeps = 1 << 20;  // each is kept for the gradient

  // The scores, low-rank and sparse part.
  Tensor clean(const Tensor& q, const Tensor& k, double scale, const Tensor& mask) const {
    const Tensor scores = matmul(q, k, {.transpose_b = true, .alpha = scale});
    return call<rpc::pursuit>({scores, mask},
                              {attn_prob.axes(), p.lambda_sparse, p.svd_threshold, p.max_pcp_iter});
  }
};

}  // namespace

ATTN_PLUGIN("rpc", "1.0.0", "Apache-2.0", RPCAttention, Operator<rpc::pursuit>)
