// SPDX-License-Identifier: Apache-2.0
//
// Self-attention in which, on request, only the first tokens serve as keys and values. Related to the
// inducing points of Lee et al. 2019 and the global tokens of Beltagy et al. 2020.
#include <attn/sdk/plugin.hpp>

using namespace attn::sdk;

namespace {

struct Params : blocks::KernelsAndBiases, blocks::ProbabilityChoice, blocks::Score {
  int64_t dim = 0, num_heads = 8;
  double dropout_rate = 0.0;
  std::optional<int64_t> head_dim;
  bool use_bias = true;
};

struct Arguments {
  std::optional<int64_t> num_anchor_tokens;  // null: every token is a key
};

int64_t anchors_of(const Arguments& a, const ClaimCall& c) {
  return a.num_anchor_tokens.value_or(c.positions());
}

struct AnchorAttention : Layer<Params, Arguments> {
  static constexpr TypeInfo info{
      .id = "anchor",
      .class_name = "AnchorAttention",
      .description = "Self-attention in which only the first tokens serve as keys, on request.",
      .use_case = "Long sequences that begin with a summary.",
      .input_shape = "(batch, seq_len, dim)",
      .complexity = "O(seq_len * anchors * dim), O(seq_len^2 * dim) without anchors",
      .paper = "Related: Set Transformer (1810.00825), Longformer (2004.05150)"};

  static void describe(Schema<Params, Arguments>& s) {
    s.field("dim", &Params::dim).required().above(0).doc("model width");
    s.field("num_heads", &Params::num_heads).above(0).doc("number of heads");
    blocks::dropout(s);
    s.field("head_dim", &Params::head_dim).above(0).doc("width of a head; null: dim / num_heads");
    s.field("use_bias", &Params::use_bias).doc("biases in all five projections");
    blocks::probability(s);
    blocks::kernels_and_biases(s, "of all kernels", "of all biases");
    blocks::score_rules(s);
    s.divisible(&Params::dim, &Params::num_heads);
    s.input("inputs", {"batch, seq, dim"}).doc("the sequence, anchors first");
    s.argument("num_anchor_tokens", &Arguments::num_anchor_tokens)
        .doc("how many first tokens are keys and values; null, or seq and more: all, as usual");
    s.output("output", "batch, seq, dim").doc("shaped as the input");
    s.claims({Claim::batch_independent, Claim::deterministic});
    blocks::over_keys(s.claim(Claim::reaches, "inputs", "anchors and itself",
                              [](auto&, const Arguments& a, const ClaimCall& c, int64_t out,
                                 int64_t in) { return in == out || in < anchors_of(a, c); }));
    s.claim(Claim::equivariant, "inputs", "anchors among themselves, others among themselves",
            [](auto&, const Arguments& a, const ClaimCall& c, int64_t i, int64_t j) {
              return (i < anchors_of(a, c)) == (j < anchors_of(a, c));
            });
    blocks::inert(s, {"key bias key_proj/bias"});
    // Anchors and the others have biases of their own: neither is the same for all queries where there are both.
    for (const char* weight :
         {"query bias query_proj/bias", "query_token_proj/kernel", "query_token_proj/bias"})
      s.claim(Claim::inert, weight)
          .when("num_anchor_tokens >= seq",
                [](const Params&, const Arguments& a, const ClaimCall& c) {
                  return anchors_of(a, c) >= c.positions();
                });
    blocks::over_keys(s.claim(Claim::inert, "others"))
        .when("num_anchor_tokens = 1",
              [](const Params&, const Arguments& a) { return a.num_anchor_tokens == 1; });
  }

  void resolve_defaults() {
    if (!p.head_dim) p.head_dim = p.dim / p.num_heads;
  }

  Dense query, key, value, token_query, output;
  Probability score_activation;

  void build(Builder& b) {
    const int64_t d = p.dim, width = product("num_heads * head_dim", p.num_heads, *p.head_dim);
    query = b.dense("query_proj", d, width, p);
    key = b.dense("key_proj", d, width, p);
    value = b.dense("value_proj", d, width, p);
    token_query = b.dense("query_token_proj", d, width, p);
    output = b.dense("output_proj", width, d, p);
    score_activation = b.probability("score_activation", p, p.num_heads);
  }

  void forward(Call& c, const Arguments& a) const {
    const Tensor x = c.input(0);
    check_sequence(x, p.dim);
    const int64_t tokens = x.dim(1), anchors = a.num_anchor_tokens.value_or(tokens);
    if (anchors <= 0)
      fail("num_anchor_tokens must be positive, got {}; leave it out to use every token", anchors);
    // Keys and values come from the anchors alone, and so do queries by query_proj.
    const Tensor head = anchors < tokens ? x.slice(1, 0, anchors) : x;
    Tensor q = dense(c, query, head);
    if (anchors < tokens) {
      const Tensor rest = dense(c, token_query, x.slice(1, anchors, tokens));
      q = concat({&q, &rest}, 1);
    }
    const Tensor k = split_heads(dense(c, key, head), p.num_heads);
    const Tensor v = split_heads(dense(c, value, head), p.num_heads);
    const Attended o = attention(c, split_heads(q, p.num_heads), k, v, score_activation,
                                 {.dropout = p.dropout_rate});
    c.output(0, dense(c, output, merge_heads(o.output)));
  }
};

}  // namespace

ATTN_PLUGIN("anchor", "1.0.0", "Apache-2.0", AnchorAttention)
