// SPDX-License-Identifier: Apache-2.0
//
// Scaled dot-product attention with several heads between two sequences, or within one (Vaswani et
// al. 2017, eq. 1 and section 3.2.2).
#include <attn/sdk/plugin.hpp>

#include <cctype>

using namespace attn::sdk;

namespace {

struct Params : blocks::KernelsAndBiases, blocks::ProbabilityChoice, blocks::Score, blocks::QkNorm {
  int64_t dim = 0, num_heads = 8;
  double dropout_rate = 0.0;
  bool shared_qk_projections = false, use_adaptive_softmax = false, use_bias = true;
};

// Whether use_adaptive_softmax agrees with the name of the probability.
bool adaptive_is_consistent(const Params& p) {
  if (!p.use_adaptive_softmax) return true;
  std::string name = p.probability_type;
  for (char& c : name) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return name == "softmax" || name == "adaptive" || name == "adaptive_softmax";
}

struct MultiHeadCrossAttention : Layer<Params> {
  static constexpr uint32_t flags = ATTN_TYPE_STATEFUL;
  static constexpr TypeInfo info{
      .id = "multi_head_cross",
      .class_name = "MultiHeadCrossAttention",
      .description =
          "Multi-head attention from one sequence to another, or within one, with a "
          "choice of projections and probability maps.",
      .use_case = "Encoder-decoder models; attention that needs every option.",
      .input_shape = "query: (batch, q_len, dim), kv: (batch, kv_len, dim)",
      .complexity = "O(q_len * kv_len * dim)",
      .paper = "Attention Is All You Need (1706.03762)"};

  static void describe(Schema<Params>& s) {
    s.field("dim", &Params::dim).required().above(0).doc("model width");
    s.field("num_heads", &Params::num_heads).above(0).doc("number of heads");
    blocks::dropout(s);
    s.field("shared_qk_projections", &Params::shared_qk_projections)
        .doc("one fused projection for queries, keys and values; self-attention only");
    s.field("use_adaptive_softmax", &Params::use_adaptive_softmax)
        .doc("another way to say probability_type 'adaptive'");
    s.field("use_bias", &Params::use_bias).doc("biases in all projections");
    blocks::probability(s, "scores to weights", {"use_adaptive_softmax=adaptive"});
    blocks::qk_norm(s);
    blocks::kernels_and_biases(s, "of all kernels", "of all biases");
    blocks::score_rules(s, "b h k H K");  // with a state nobody knows how many queries came before
    s.divisible(&Params::dim, &Params::num_heads);
    s.rule("Parameter 'use_adaptive_softmax' conflicts with probability_type '{probability_type}'",
           adaptive_is_consistent);
    s.input("query_input", {"batch, query, dim"}).doc("the sequence of the queries");
    s.input("kv_input", {"batch, key, dim"})
        .optional()
        .doc(
            "the sequence of the keys; without it the query sequence attends to itself. With a "
            "state: given once, then kept");
    blocks::attention_mask(s, "keys that may be used (> 0)");
    s.output("output", "batch, query, dim").doc("shaped as the queries");
    blocks::attention(s, &Params::qk_norm_type);
    s.claims({Claim::equivariant, Claim::decode_equals_prefill});
    s.claim(Claim::invariant, "kv_input");
    blocks::inert(
        s, {"key bias kv/bias [0 .. 1/2)", "query bias q/bias", "key bias qkv/bias [1/3 .. 2/3)",
            "query bias qkv/bias [0 .. 1/3)", "key norm k_norm", "query norm q_norm"});
  }

  Dense qkv, q, proj;
  Norm q_norm;
  Probability attn_prob;
  CrossKeysValues kv;

  void build(Builder& b) {
    const int64_t d = p.dim, h = p.num_heads, keys = b.positions(b.input(1).present ? 1 : 0, 3);
    const int64_t three = product("3 * dim", 3, d);
    if (p.shared_qk_projections) {
      qkv = b.dense("qkv", d, three, p);
    } else {
      q = b.dense("q", d, d, p);
      kv.projection = b.dense("kv", d, 2 * d, p);
    }
    proj = b.dense("proj", d, d, p);
    const std::string kind = p.use_adaptive_softmax ? "adaptive" : p.probability_type;
    attn_prob =
        b.with_rules("attn_prob", b.probability("attn_prob", kind, p.probability_config), p, h);
    q_norm = b.qk_norm("q_norm", p, {-1, h, b.positions(0, 3), d / h});
    kv.k_norm = b.qk_norm("k_norm", p, {-1, h, keys, d / h});
    if (!p.shared_qk_projections) kv.build(b, h, d / h);
  }

  void forward(Call& c) const {
    const Tensor x = c.input(0), other = c.input(1);
    check_sequence(x, p.dim, "Query");
    if (p.shared_qk_projections && other)
      fail(
          "kv_input was given, but with shared_qk_projections the layer is self-attention only; "
          "leave kv_input out or set shared_qk_projections to false");
    kv.check(x, other, p.dim);

    // 1.-3. Queries from x, keys and values from the other sequence; heads, norms.
    Tensor queries;
    CrossKeysValues::Pair pair;
    if (p.shared_qk_projections) {
      const Tensor a = dense(c, qkv, x);
      queries = split_heads(a, p.num_heads, 0, 3);
      pair = {norm(c, kv.k_norm, split_heads(a, p.num_heads, 1, 3)),
              split_heads(a, p.num_heads, 2, 3)};
    } else {
      queries = split_heads(dense(c, q, x), p.num_heads);
      pair = kv.get(c, x, other);
    }
    queries = norm(c, q_norm, queries);
    // 4.-8. Scaled scores, mask, probability, dropout, values, projection.
    const Attended o = attention(c, queries, pair.keys, pair.values, attn_prob,
                                 {.dropout = p.dropout_rate}, c.input(2));
    c.output(0, dense(c, proj, merge_heads(o.output)));
  }
};

}  // namespace

ATTN_PLUGIN("multi_head_cross", "1.0.0", "Apache-2.0", MultiHeadCrossAttention)
