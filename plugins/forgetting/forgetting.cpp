// SPDX-License-Identifier: Apache-2.0
//
// Causal softmax attention that forgets: the scores fall with the sum of what every position between query and key chose to
// forget (Lin et al. 2025, eq. 3-5).
#include <attn/sdk/plugin.hpp>

using namespace attn::sdk;

namespace {

struct Params : blocks::KernelsAndBiases, blocks::ProbabilityChoice, blocks::ScoreTexts {
  int64_t dim = 0, num_heads = 8;
  std::optional<int64_t> num_kv_heads;
  double dropout_rate = 0.0, forget_bias_init = 0.0;
  bool use_bias = false, use_output_gate = false;
  std::optional<std::string> qk_norm;
};

struct ForgettingAttention : Layer<Params> {
  static constexpr uint32_t flags = ATTN_TYPE_STATEFUL;
  static constexpr TypeInfo info{
      .id = "forgetting",
      .class_name = "ForgettingAttention",
      .description = "Causal attention whose scores fall with what positions choose to forget.",
      .use_case = "Language models without positions that extrapolate to longer texts.",
      .input_shape = "(batch, seq_len, dim)",
      .complexity = "O(seq_len^2 * dim)",
      .paper = "Forgetting Transformer (2503.02130)"};

  static void describe(Schema<Params>& s) {
    s.field("dim", &Params::dim).required().above(0).doc("model width");
    s.field("num_heads", &Params::num_heads).above(0).doc("number of heads");
    s.field("num_kv_heads", &Params::num_kv_heads)
        .above(0)
        .doc("heads of keys and values, shared by groups of queries; null: num_heads");
    blocks::dropout(s);
    s.field("use_bias", &Params::use_bias)
        .doc("biases in all projections; that of the forget gate is always there");
    s.field("forget_bias_init", &Params::forget_bias_init)
        .doc("start value of the forget gate's bias; large: nothing is forgotten at first");
    s.field("use_output_gate", &Params::use_output_gate)
        .doc("results times a sigmoid of a projection of the input");
    blocks::probability(s);
    s.field("qk_norm", &Params::qk_norm)
        .choices({"rms_norm", "layer_norm"})
        .doc("norm of each head's queries and keys");
    blocks::kernels_and_biases(s, "of all kernels",
                               "of all biases; the forget gate's begins as forget_bias_init");
    blocks::score_texts(s, "b h q k H");
    s.divisible(&Params::dim, &Params::num_heads);
    s.divisible(&Params::num_heads, &Params::num_kv_heads);
    s.input("inputs", {"batch, seq, dim"}).doc("the sequence");
    s.input("attention_mask", {"batch, key"})
        .mask()
        .doc(
            "positions that may be used (> 0), others forget nothing; with a state, over all so "
            "far");
    s.output("output", "batch, seq, dim").doc("shaped as the input");
    blocks::attention(s, &Params::qk_norm);
    s.claims({Claim::causal, Claim::decode_equals_prefill, Claim::position_sensitive});
    s.claim(Claim::inert, "k_proj/bias").unless(&Params::qk_norm);
    s.claim(Claim::inert, "key norm k_norm");
  }

  Dense q_proj, k_proj, v_proj, g_proj, o_proj;
  Weight f_kernel, f_bias;
  Norm q_norm, k_norm;
  Probability attn_prob;
  KeyValueCache cache;
  State forgotten;

  void build(Builder& b) {
    const int64_t d = p.dim, h = p.num_heads, head = d / h, groups = p.num_kv_heads.value_or(h),
                  tokens = b.positions(0, 3);
    q_proj = b.dense("q_proj", d, d, p);
    k_proj = b.dense("k_proj", d, groups * head, p);
    v_proj = b.dense("v_proj", d, groups * head, p);
    f_kernel = b.weight("f_proj/kernel", {d, h}, p.kernel_initializer, p.kernel_regularizer);
    f_bias = b.constant("f_proj/bias", {h}, p.forget_bias_init, ATTN_WEIGHT_TRAINABLE,
                        p.bias_regularizer);
    if (p.use_output_gate) g_proj = b.dense("g_proj", d, d, p);
    o_proj = b.dense("o_proj", d, d, p);
    attn_prob = b.with_texts("attn_prob", b.probability("attn_prob", p), p, h);
    q_norm = b.norm("q_norm", p.qk_norm, {}, {-1, h, tokens, head});
    k_norm = b.norm("k_norm", p.qk_norm, {}, {-1, groups, tokens, head});
    if (attn_prob.other_axis())
      fail(
          "every call is causal, which needs probabilities over the keys; expected no axis in "
          "probability_config");
    cache = b.key_value_cache(groups, head);
    forgotten = b.history("forgotten", {-1, h, -1, 1}, 2, 0);
  }

  void forward(Call& c) const {
    const Tensor x = c.input(0), mask = c.input(1);
    check_sequence(x, p.dim);
    const int64_t tokens = x.dim(1), all = c.position() + tokens;
    const Tensor q = norm(c, q_norm, heads(c, q_proj, x));
    Tensor k = norm(c, k_norm, heads(c, k_proj, x)), v = heads(c, v_proj, x);
    c.cache(cache, k, v);  // with a state all so far; the queries are the last of them
    // log f = -softplus(-z), a number for each head and position.
    const Tensor z = linear(x, c[f_kernel], c[f_bias]);
    Tensor gate = neg(softplus(neg(split_heads(z, p.num_heads))));
    if (mask) gate = where(kept(mask, x.dim(0), tokens, all), gate, 0);
    // From key j to query i the scores fall by sum over (j, i] of -log f. What all keys of a query have in common does
    // nothing to its weights: the sums are taken from the first query of the call on, and no pair is held.
    // In double: a small difference of large sums is left.
    const Tensor sums = cumsum(convert(c.cache(forgotten, gate), ATTN_F64), 2);
    const Tensor bias =
        convert(sub(sums.slice(2, all - tokens, all - tokens + 1), sums), x.dtype());
    const Attended o = attention(c, q, k, v, attn_prob, {.causal = true, .dropout = p.dropout_rate},
                                 mask, bias.reshape({bias.dim(0), p.num_heads, 1, all}));
    if (c.observes("forgotten")) c.observe("forgotten", gate);
    Tensor y = merge_heads(o.output);
    if (p.use_output_gate) y = mul(y, sigmoid(dense(c, g_proj, x)));
    c.output(0, dense(c, o_proj, y));
  }

 private:
  [[nodiscard]] Tensor heads(const Call& c, const Dense& w, const Tensor& x) const {
    const Tensor y = dense(c, w, x);
    return split_heads(y, y.dim(2) / (p.dim / p.num_heads));
  }
  // (1 or B, 1, N, 1) of the positions of this call.
  static Tensor kept(const Tensor& mask, int64_t batch, int64_t tokens, int64_t all) {
    if (mask.rank() != 2 || (mask.dim(0) != batch && mask.dim(0) != 1) || mask.dim(1) != all)
      fail("attention_mask of shape {} must be ({}, {})", mask.shape(), batch, all);
    return mask.slice(1, all - tokens, all).reshape({mask.dim(0), 1, tokens, 1});
  }
};

}  // namespace

ATTN_PLUGIN("forgetting", "1.0.0", "Apache-2.0", ForgettingAttention)
