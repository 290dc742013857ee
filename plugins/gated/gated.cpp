// SPDX-License-Identifier: Apache-2.0
//
// Multi-head self-attention whose queries, keys and values are normalised over all heads together,
// with rotary positions, shared key/value heads and a gate that is computed from the result itself
// (Su et al. 2021; Zhang and Sennrich 2019; Ainslie et al. 2023).
#include <attn/sdk/plugin.hpp>

#include <cmath>

using namespace attn::sdk;

namespace {

constexpr double kRopeTheta = 10000.0;

struct Params {
  int64_t dim = 0, num_heads = 0;
  std::optional<int64_t> head_dim;
  int64_t max_seq_len = 4096;
  double rope_percentage = 0.5;
  std::optional<int64_t> num_kv_heads;
  double dropout_rate = 0.0;
  bool use_bias = false;
  std::string probability_type = "softmax";
  Setting probability_config;
  std::string qk_norm_type = "zero_centered_rms_norm";
  Setting qk_norm_kwargs;
  std::optional<std::string> gate_activation_type = "sigmoid";
  Setting gate_activation_args;
  Setting kernel_initializer = "glorot_uniform", bias_initializer = "zeros";
  Setting kernel_regularizer, bias_regularizer;
};

struct Arguments {
  std::optional<bool> use_causal_mask;     // null: only with a state
  std::optional<int64_t> position_offset;  // null: the length of the state, 0 without one
};

// dim is divided among the heads only where their size is not given.
int32_t heads_divide_dim(const attn_value* v) {
  constexpr int kDim = 0, kHeads = 1, kHeadDim = 2;
  return v[kHeadDim].kind != ATTN_NULL || v[kDim].u.i % v[kHeads].u.i == 0;
}

struct GatedAttention : Layer<Params, Arguments> {
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
    s.field("dropout_rate", &Params::dropout_rate)
        .between(0, 1)
        .doc("dropout on the attention weights");
    s.field("use_bias", &Params::use_bias).doc("biases in all projections and the gate");
    s.field("probability_type", &Params::probability_type).probability().doc("scores to weights");
    s.field("probability_config", &Params::probability_config)
        .options("probability_type")
        .doc("its options");
    s.field("qk_norm_type", &Params::qk_norm_type)
        .norm()
        .doc("norm of queries and keys, over all heads together");
    s.field("qk_norm_kwargs", &Params::qk_norm_kwargs).options("qk_norm_type").doc("its options");
    s.field("gate_activation_type", &Params::gate_activation_type)
        .activation()
        .doc("activation of the gate");
    s.field("gate_activation_args", &Params::gate_activation_args)
        .options("gate_activation_type")
        .doc("its options");
    s.field("kernel_initializer", &Params::kernel_initializer).initializer().doc("of all kernels");
    s.field("bias_initializer", &Params::bias_initializer)
        .initializer()
        .nullable()
        .doc("of all biases");
    s.field("kernel_regularizer", &Params::kernel_regularizer).regularizer().doc("of all kernels");
    s.field("bias_regularizer", &Params::bias_regularizer).regularizer().doc("of all biases");
    s.rule("dim ({dim}) must be divisible by num_heads ({num_heads})", &heads_divide_dim);
    s.divisible<1, 5>();
    s.input("inputs", {"batch, seq, dim"}).doc("the sequence");
    s.input("attention_mask", {"key", "batch, key", "batch, query, key", "batch, head, query, key"})
        .mask()
        .doc("keys that may be used (> 0); with a state, over all positions so far");
    s.argument("use_causal_mask", &Arguments::use_causal_mask)
        .causal()
        .doc("a position uses itself and earlier ones only; null: true with a state, else false");
    s.argument("position_offset", &Arguments::position_offset)
        .at_least(0)
        .doc(
            "position of the first token; null: the length of the state, 0 without one. Only "
            "distances "
            "count: no effect on the result, but positions must exist");
    s.output("output", "batch, seq, dim");
  }

  struct Dense {
    Weight kernel, bias;
  };

  int64_t heads = 0, kv_heads = 0, head = 0, rope_dim = 0;
  Dense input_linear, q_linear, k_linear, v_linear, output_proj, gate_linear;
  Norm q_norm, k_norm, v_norm;
  Probability attn_prob;
  Activation gate;
  State key_cache, value_cache;

  void settle() {
    if (!p.head_dim) p.head_dim = p.dim / p.num_heads;
    if (!p.num_kv_heads) p.num_kv_heads = p.num_heads;
  }

  void build(Builder& b) {
    heads = p.num_heads;
    kv_heads = *p.num_kv_heads;
    head = *p.head_dim;
    rope_dim = b.rotated(head, p.rope_percentage);
    const int64_t d = p.dim, width = product("num_heads * head_dim", heads, head),
                  kv_width = product("num_kv_heads * head_dim", kv_heads, head),
                  tokens = b.positions(0, 3);
    const auto dense = [&](const std::string& name, int64_t in, int64_t out) {
      return Dense{b.weight((name + "/kernel").c_str(), {in, out}, p.kernel_initializer,
                            p.kernel_regularizer),
                   b.weight((name + "/bias").c_str(), {out}, p.bias_initializer, p.bias_regularizer,
                            p.use_bias)};
    };
    input_linear = dense("input_linear", d, d);
    q_linear = dense("q_linear", d, width);
    k_linear = dense("k_linear", d, kv_width);
    v_linear = dense("v_linear", d, kv_width);
    rope_dim = static_cast<int64_t>(static_cast<double>(head) * p.rope_percentage) / 2 * 2;
    q_norm = b.norm("q_norm", p.qk_norm_type, p.qk_norm_kwargs, {-1, tokens, width});
    k_norm = b.norm("k_norm", p.qk_norm_type, p.qk_norm_kwargs, {-1, tokens, kv_width});
    v_norm = b.norm("v_norm", "zero_centered_rms_norm", {}, {-1, -1, kv_width});
    if (width != d) output_proj = dense("output_proj", width, d);
    gate_linear = dense("output_gate_linear", d, d);
    // Made for whatever max_seq_len the file's layer had.
    for (const char* table : {"rope/cos_cached", "rope/sin_cached"}) b.derived(table, {0, 0});
    attn_prob = b.probability("attn_prob", p.probability_type, p.probability_config);
    gate = b.activation("gate_activation", p.gate_activation_type, p.gate_activation_args,
                        {-1, tokens, d});
    key_cache = b.history("keys", {-1, kv_heads, -1, head}, 2, p.max_seq_len);
    value_cache = b.history("values", {-1, kv_heads, -1, head}, 2, p.max_seq_len);
  }

  void forward(Call& c, const Arguments& a) const {
    const Tensor x = c.input(0);
    const bool causal = a.use_causal_mask.value_or(c.stateful());
    const int64_t position = a.position_offset.value_or(c.position());
    check_sequence(x, p.dim);
    check_call(c, position, x.dim(1));

    // 1.-3. Projections, normalised over the whole width: all heads of a position together.
    const Tensor u = apply(c, input_linear, x);
    Tensor q = split_heads(norm(c, q_norm, apply(c, q_linear, u)), heads);
    Tensor k = split_heads(norm(c, k_norm, apply(c, k_linear, u)), kv_heads);
    Tensor v = split_heads(norm(c, v_norm, apply(c, v_linear, u)), kv_heads);
    // 5. Positions.
    if (rope_dim > 0) {
      q = rope(q, kRopeTheta, rope_dim, position);
      k = rope(k, kRopeTheta, rope_dim, position);
    }
    // With a state these are all keys and values so far, and the queries are the last of them.
    k = c.cache(key_cache, k);
    v = c.cache(value_cache, v);
    // 6.-8. Attention, and a projection where its width is not that of the model.
    const Attended attended = attention(c, q, k, v, attn_prob,
                                        {.scale = 1.0 / std::sqrt(static_cast<double>(head)),
                                         .causal = causal,
                                         .offset = k.dim(2) - q.dim(2),
                                         .dropout = c.training() ? p.dropout_rate : 0.0},
                                        c.input(1));
    Tensor o = merge_heads(attended.output);
    if (heads * head != p.dim) o = apply(c, output_proj, o);
    // 9. The gate reads what it closes.
    c.output(0, mul(activation(c, gate, apply(c, gate_linear, o)), o));
  }

 private:
  static Tensor apply(const Call& c, const Dense& dense, const Tensor& x) {
    return linear(x, c[dense.kernel], c[dense.bias]);
  }

  // Everything that can be refused before the first operator runs. length: new tokens.
  void check_call(const Call& c, int64_t position, int64_t length) const {
    if (rope_dim > 0 && position > p.max_seq_len - length)
      fail(
          "%lld positions from %lld on do not fit in max_seq_len (%lld); build the layer with a "
          "larger max_seq_len",
          static_cast<long long>(length), static_cast<long long>(position),
          static_cast<long long>(p.max_seq_len));
    if (!c.stateful()) return;
    if (position != c.position())
      fail("position_offset (%lld) must equal the length of the state (%lld); leave it out",
           static_cast<long long>(position), static_cast<long long>(c.position()));
  }
};

}  // namespace

ATTN_PLUGIN("gated", "1.0.0", "Apache-2.0", GatedAttention)
