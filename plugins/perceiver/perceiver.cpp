// SPDX-License-Identifier: Apache-2.0
//
// Cross-attention of a small latent array to a large input array (Jaegle et al. 2021, section 3).
#include <attn/sdk/plugin.hpp>

using namespace attn::sdk;

namespace {

struct Params : blocks::KernelsAndBiases, blocks::ProbabilityChoice, blocks::Score, blocks::QkNorm {
  int64_t dim = 0, num_heads = 8;
  double dropout_rate = 0.0;
  bool use_bias = true;
};

struct PerceiverAttention : Layer<Params> {
  static constexpr uint32_t flags = ATTN_TYPE_STATEFUL;
  static constexpr TypeInfo info{
      .id = "perceiver",
      .class_name = "PerceiverAttention",
      .description = "Cross-attention from a small set of queries to a large input.",
      .use_case = "Latent bottlenecks; text-to-image and other cross-modal models.",
      .input_shape = "query: (batch, q_len, dim), kv: (batch, kv_len, dim)",
      .complexity = "O(q_len * kv_len * dim)",
      .paper = "Perceiver (2103.03206)"};

  static void describe(Schema<Params>& s) {
    s.field("dim", &Params::dim).required().above(0).doc("width of queries, input and output");
    s.field("num_heads", &Params::num_heads).above(0).doc("number of heads");
    blocks::dropout(s);
    s.field("use_bias", &Params::use_bias).doc("biases in all projections");
    blocks::kernels_and_biases(s, "of all kernels", "of all biases");
    blocks::probability(s);
    blocks::qk_norm(s);
    blocks::score_rules(s, "b h k H K");  // with a state nobody knows how many queries came before
    s.divisible(&Params::dim, &Params::num_heads);
    s.input("query_input", {"batch, query, dim"}).doc("the latent array");
    s.input("kv_input", {"batch, key, dim"})
        .optional()
        .doc(
            "the input array; without it the latent array attends to itself. With a state: given "
            "once, then kept");
    blocks::attention_mask(s, "positions of the input array that may be used (> 0)");
    s.output("output", "batch, query, dim").doc("shaped as the queries");
    blocks::attention(s, &Params::qk_norm_type);
    s.claims({Claim::equivariant, Claim::decode_equals_prefill});
    s.claim(Claim::invariant, "kv_input");
    blocks::inert(
        s, {"key bias cross_attention/kv/bias [0 .. 1/2)", "query bias cross_attention/q/bias",
            "key norm cross_attention/k_norm", "query norm cross_attention/q_norm"});
  }

  Dense q, proj;
  Norm q_norm;
  Probability attn_prob;
  CrossKeysValues kv;

  void build(Builder& b) {
    const int64_t d = p.dim, h = p.num_heads, keys = b.positions(b.input(1).present ? 1 : 0, 3);
    q = b.dense("cross_attention/q", d, d, p);
    kv.projection = b.dense("cross_attention/kv", d, product("2 * dim", 2, d), p);
    proj = b.dense("cross_attention/proj", d, d, p);
    attn_prob = b.probability("cross_attention/attn_prob", p, p.num_heads);
    q_norm = b.qk_norm("cross_attention/q_norm", p, {-1, h, b.positions(0, 3), d / h});
    kv.k_norm = b.qk_norm("cross_attention/k_norm", p, {-1, h, keys, d / h});
    kv.build(b, h, d / h);
  }

  void forward(Call& c) const {
    const Tensor x = c.input(0), input = c.input(1);
    check_sequence(x, p.dim, "Query");
    kv.check(x, input, p.dim);
    const Tensor queries = norm(c, q_norm, split_heads(dense(c, q, x), p.num_heads));
    const auto [keys, values] = kv.get(c, x, input);
    const Attended o =
        attention(c, queries, keys, values, attn_prob, {.dropout = p.dropout_rate}, c.input(2));
    c.output(0, dense(c, proj, merge_heads(o.output)));
  }
};

}  // namespace

ATTN_PLUGIN("perceiver", "1.0.0", "Apache-2.0", PerceiverAttention)
