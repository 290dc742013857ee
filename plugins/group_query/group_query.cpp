// SPDX-License-Identifier: Apache-2.0
//
// Self-attention in which groups of query heads share one key/value head, with rotary positions
// and a key/value cache (Ainslie et al. 2023; Shazeer 2019; Su et al. 2021).
#include <attn/sdk/plugin.hpp>

using namespace attn::sdk;

namespace {

struct Params : blocks::GroupedHeads,
                blocks::KernelsAndBiases,
                blocks::ProbabilityChoice,
                blocks::WindowedScores,
                blocks::QkNorm,
                blocks::Rope {
  int64_t max_seq_len = 2048;
  double dropout_rate = 0.0, rope_percentage = 1.0, rope_theta = 10000.0;
  bool use_bias = false;
};

struct Arguments {
  bool return_attention_weights = false;
  std::optional<bool> use_causal_mask;     // null: only with a state
  std::optional<int64_t> position_offset;  // null: the length of the state, 0 without one
};

// Components of a head rotate in pairs.
bool rotates(const Params& p) {
  return static_cast<double>(p.dim / p.num_heads) * p.rope_percentage >= 2;
}

struct GroupedQueryAttention : Layer<Params, Arguments> {
  static constexpr uint32_t flags = ATTN_TYPE_STATEFUL;
  static constexpr TypeInfo info{
      .id = "group_query",
      .class_name = "GroupedQueryAttention",
      .description = "Self-attention in which groups of query heads share one key/value head.",
      .use_case = "Language models whose key/value cache is the limit.",
      .input_shape = "(batch, seq_len, dim)",
      .complexity = "O(seq_len^2 * dim), cache smaller by num_heads / num_kv_heads",
      .paper = "GQA (2305.13245)"};

  static void describe(Schema<Params, Arguments>& s) {
    blocks::grouped_heads(s);
    s.field("max_seq_len", &Params::max_seq_len)
        .above(0)
        .doc("positions that exist, and the capacity of a cache");
    blocks::dropout(s);
    s.field("rope_percentage", &Params::rope_percentage)
        .between(0, 1)
        .doc("share of each head that rotates with the position; 0: none");
    s.field("rope_theta", &Params::rope_theta).above(0).doc("base of the rotation frequencies");
    s.field("use_bias", &Params::use_bias).doc("biases in all four projections");
    blocks::probability(s);
    blocks::qk_norm(s, "norm of each head's queries and keys, after the rotation");
    blocks::kernels_and_biases(s, "of all kernels", "of all biases");
    blocks::rope(s, true);
    blocks::score_rules(s);
    s.divisible(&Params::dim, &Params::num_heads);
    s.divisible(&Params::num_heads, &Params::num_kv_heads);
    s.only_with(
        "with rope_percentage above 0", [](const Params& p) { return p.rope_percentage > 0; },
        &Params::rope_style, &Params::rope_scaling);
    blocks::rope_pairs(
        s, [](const Params& p) { return rotating(p.dim / p.num_heads, p.rope_percentage); });
    s.input("inputs", {"batch, seq, dim", "batch, height, width, dim"})
        .doc("a sequence, or a map that is read row by row");
    blocks::return_attention_weights(s);
    blocks::cached_attention(s);
    s.argument("position_offset", &Arguments::position_offset)
        .at_least(0)
        .doc("position of the first token; null: the length of the state, 0 without one");
    s.output("output", "batch, seq, dim").doc("shaped as the input");
    blocks::attention_weights(s);
    blocks::attention(s, &Params::qk_norm_type);
    blocks::causal_rope(s, &Arguments::use_causal_mask);
    blocks::equivariant_when(s, "nothing rotates and not use_causal_mask",
                             [](const Params& p, const Arguments& a, const ClaimCall& c) {
                               return !rotates(p) && !a.use_causal_mask.value_or(c.stateful());
                             });
    s.claim(Claim::inert, "key bias w_k/bias").when("nothing rotates", [](const Params& p) {
      return !rotates(p);
    });
    s.claim(Claim::inert, "key bias w_k/bias in part").when("a part rotates", [](const Params& p) {
      return p.rope_percentage < 1 || p.dim / p.num_heads % 2 == 1;
    });
    blocks::inert(s, {"key norm k_norm", "query norm q_norm"});
  }

  Dense w_q, w_k, w_v, w_o;
  Rotary rotary;
  Norm q_norm, k_norm;
  Probability attn_prob;
  KeyValueCache cache;

  void build(Builder& b) {
    const int64_t d = p.dim, h = p.num_heads, g = p.num_kv_heads, head = d / h;
    const int64_t kv_width = product("num_kv_heads * head size", g, head);
    w_q = b.dense("w_q", d, d, p);
    w_k = b.dense("w_k", d, kv_width, p);
    w_v = b.dense("w_v", d, kv_width, p);
    w_o = b.dense("w_o", d, d, p);
    rotary.build(b, p, head, p.rope_percentage, p.max_seq_len, p.rope_theta);
    attn_prob = b.probability("attn_prob", p, p.num_heads);
    const int64_t tokens = b.positions(0, b.input(0).rank == 4 ? 4 : 3);
    q_norm = b.qk_norm("q_norm", p, {-1, h, tokens, head});
    k_norm = b.qk_norm("k_norm", p, {-1, g, tokens, head});
    cache = b.key_value_cache(g, head, p.max_seq_len);
  }

  void forward(Call& c, const Arguments& a) const {
    const Tensor input = c.input(0), x = sequence(c, input);
    check_sequence(x, p.dim);
    const int64_t position = rotary.first(c, a.position_offset, x.dim(1));
    const Tensor q =
        norm(c, q_norm, rotary.rotate(split_heads(dense(c, w_q, x), p.num_heads), position));
    Tensor k =
        norm(c, k_norm, rotary.rotate(split_heads(dense(c, w_k, x), p.num_kv_heads), position));
    Tensor v = split_heads(dense(c, w_v, x), p.num_kv_heads);
    c.cache(cache, k, v);  // with a state all so far; the queries are the last of them
    const AttentionOptions options{.causal = a.use_causal_mask.value_or(c.stateful()),
                                   .dropout = p.dropout_rate};
    const Attended o = attention(c, q, k, v, attn_prob, options, c.input(1), {}, c.wants(1));
    const Tensor y = dense(c, w_o, merge_heads(o.output));
    c.output(0, y.reshape(input.shape()));
    if (c.wants(1)) c.output(1, o.weights);
  }

 private:
  // A map is read row by row.
  static Tensor sequence(const Call& c, const Tensor& input) {
    if (input.rank() == 3) return input;
    if (input.rank() != 4)
      fail("Input must be 3D (batch, seq, dim) or 4D (batch, height, width, dim), got shape {}",
           input.shape());
    if (c.stateful()) fail("a cached call takes (batch, seq, dim), got shape {}", input.shape());
    return input.reshape({input.dim(0), input.dim(1) * input.dim(2), input.dim(3)});
  }
};

}  // namespace

ATTN_PLUGIN("group_query", "1.0.0", "Apache-2.0", GroupedQueryAttention)
