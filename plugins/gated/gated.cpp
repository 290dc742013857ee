// SPDX-License-Identifier: Apache-2.0
//
// Multi-head self-attention whose queries, keys and values are normalised over all heads together,
// with rotary positions, shared key/value heads and a gate that is computed from the result itself
// (Su et al. 2021; Zhang and Sennrich 2019; Ainslie et al. 2023).
#include <attn/sdk/plugin.hpp>

using namespace attn::sdk;

namespace {

struct Params : blocks::KernelsAndBiases,
                blocks::ProbabilityChoice,
                blocks::WindowedScores,
                blocks::Rope {
  int64_t dim = 0, num_heads = 0, max_seq_len = 4096;
  std::optional<int64_t> head_dim, num_kv_heads;
  double rope_percentage = 0.5, rope_theta = 10000.0, dropout_rate = 0.0;
  bool use_bias = false;
  std::string qk_norm_type = "zero_centered_rms_norm";
  std::optional<std::string> gate_activation_type = "sigmoid";
  ComponentSpec qk_norm_kwargs, gate_activation_args;
};

struct Arguments {
  std::optional<bool> use_causal_mask;     // null: only with a state
  std::optional<int64_t> position_offset;  // null: the length of the state, 0 without one
};

struct GatedAttention : Layer<Params, Arguments> {
  static constexpr uint32_t flags = ATTN_TYPE_STATEFUL;
  static constexpr TypeInfo info{
      .id = "gated",
      .class_name = "GatedAttention",
      .description =
          "Self-attention with normalised projections, rotary positions and a gate on its result.",
      .use_case = "Transformer blocks that must stay stable in training.",
      .input_shape = "(batch, seq_len, dim)",
      .complexity = "O(seq_len^2 * num_heads * head_dim + seq_len * dim^2)",
      .paper = "RoFormer (2104.09864), RMSNorm (1910.07467)"};

  static void describe(Schema<Params, Arguments>& s) {
    s.field("dim", &Params::dim).required().above(0).doc("model width");
    s.field("num_heads", &Params::num_heads).required().above(0).doc("number of query heads");
    s.field("head_dim", &Params::head_dim)
        .above(0)
        .doc("size of a head, also an odd one; null: dim / num_heads");
    s.field("max_seq_len", &Params::max_seq_len)
        .above(0)
        .doc("positions that exist, and the capacity of a cache");
    s.field("rope_percentage", &Params::rope_percentage)
        .above(0)
        .at_most(1)
        .doc("share of each head that rotates with the position");
    s.field("num_kv_heads", &Params::num_kv_heads)
        .above(0)
        .doc("number of key/value heads, divides num_heads; null: num_heads");
    blocks::dropout(s);
    s.field("use_bias", &Params::use_bias).doc("biases in all projections and the gate");
    blocks::probability(s);
    blocks::qk_norm(s, "norm of queries and keys, over all heads together");
    blocks::activation(s, "gate_activation_type", &Params::gate_activation_type,
                       "gate_activation_args", &Params::gate_activation_args,
                       "activation of the gate");
    blocks::kernels_and_biases(s, "of all kernels", "of all biases");
    s.field("rope_theta", &Params::rope_theta)
        .above(0)
        .extension()
        .doc("base of the rotation frequencies");
    blocks::rope(s, true);
    blocks::score_rules(s);
    // dim is divided among the heads only where their size is not given.
    s.rule("dim ({dim}) must be divisible by num_heads ({num_heads})",
           [](const Params& p) { return p.head_dim || p.dim % p.num_heads == 0; });
    s.divisible(&Params::num_heads, &Params::num_kv_heads);
    blocks::rope_pairs(s, [](const Params& p) {
      return rotating(p.head_dim.value_or(p.dim / p.num_heads), p.rope_percentage);
    });
    blocks::cached_sequence(s);
    s.argument("position_offset", &Arguments::position_offset)
        .at_least(0)
        .doc(
            "position of the first token; null: the length of the state, 0 without one. Only "
            "distances count: no effect on the result, but positions must exist");
    s.output("output", "batch, seq, dim").doc("shaped as the input");
    blocks::attention(s, &Params::qk_norm_type);
    blocks::causal_rope(s, &Arguments::use_causal_mask);
    blocks::equivariant_when(
        s, "head_dim * rope_percentage < 2 and not use_causal_mask",
        [](const Params& p, const Arguments& a, const ClaimCall& c) {
          return static_cast<double>(p.head_dim.value_or(p.dim / p.num_heads)) * p.rope_percentage <
                     2 &&
                 !a.use_causal_mask.value_or(c.stateful());
        });
    for (const char* weight : {"key norm k_norm in part", "query norm q_norm in part"})
      s.claim(Claim::inert, weight).when("a part does not rotate", [](const Params& p) {
        return p.rope_percentage < 1 || p.head_dim.value_or(p.dim / p.num_heads) % 2 == 1;
      });
  }

  int64_t heads = 0, kv_heads = 0, head = 0;
  Dense input_linear, q_linear, k_linear, v_linear, output_proj, gate_linear;
  Norm q_norm, k_norm, v_norm;
  Rotary rotary;
  Probability attn_prob;
  Activation gate;
  KeyValueCache cache;

  void resolve_defaults() {
    if (!p.head_dim) p.head_dim = p.dim / p.num_heads;
    if (!p.num_kv_heads) p.num_kv_heads = p.num_heads;
  }

  void build(Builder& b) {
    heads = p.num_heads, kv_heads = *p.num_kv_heads, head = *p.head_dim;
    const int64_t d = p.dim, width = product("num_heads * head_dim", heads, head),
                  kv_width = product("num_kv_heads * head_dim", kv_heads, head),
                  tokens = b.positions(0, 3);
    input_linear = b.dense("input_linear", d, d, p);
    q_linear = b.dense("q_linear", d, width, p);
    k_linear = b.dense("k_linear", d, kv_width, p);
    v_linear = b.dense("v_linear", d, kv_width, p);
    q_norm = b.qk_norm("q_norm", p, {-1, tokens, width});
    k_norm = b.qk_norm("k_norm", p, {-1, tokens, kv_width});
    v_norm = b.norm("v_norm", "zero_centered_rms_norm", {}, {-1, -1, kv_width});
    if (width != d) output_proj = b.dense("output_proj", width, d, p);
    gate_linear = b.dense("output_gate_linear", d, d, p);
    rotary.build(b, p, head, p.rope_percentage, p.max_seq_len, p.rope_theta);
    attn_prob = b.probability("attn_prob", p, p.num_heads);
    gate = b.activation("gate_activation", p.gate_activation_type, p.gate_activation_args,
                        {-1, tokens, d});
    cache = b.key_value_cache(kv_heads, head, p.max_seq_len);
  }

  void forward(Call& c, const Arguments& a) const {
    const Tensor x = c.input(0);
    check_sequence(x, p.dim);
    const int64_t position = rotary.first(c, a.position_offset, x.dim(1));
    // 1.-3. Projections, normalised over the whole width: all heads of a position together.
    const Tensor u = dense(c, input_linear, x);
    Tensor q = split_heads(norm(c, q_norm, dense(c, q_linear, u)), heads);
    Tensor k = split_heads(norm(c, k_norm, dense(c, k_linear, u)), kv_heads);
    Tensor v = split_heads(norm(c, v_norm, dense(c, v_linear, u)), kv_heads);
    // 5. Positions. With a state, k and v become those of all calls; the queries are the last of them.
    q = rotary.rotate(q, position);
    k = rotary.rotate(k, position);
    c.cache(cache, k, v);
    // 6.-8. Attention, and a projection where its width is not that of the model.
    const AttentionOptions options{.causal = a.use_causal_mask.value_or(c.stateful()),
                                   .dropout = p.dropout_rate};
    Tensor o = merge_heads(attention(c, q, k, v, attn_prob, options, c.input(1)).output);
    if (heads * head != p.dim) o = dense(c, output_proj, o);
    // 9. The gate is computed from the tensor that it multiplies.
    const Tensor gates = activation(c, gate, dense(c, gate_linear, o));
    c.observe("gate", gates);
    c.output(0, mul(gates, o));
  }
};

}  // namespace

ATTN_PLUGIN("gated", "1.0.0", "Apache-2.0", GatedAttention)
