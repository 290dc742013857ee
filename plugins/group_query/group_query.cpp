// SPDX-License-Identifier: Apache-2.0
//
// Self-attention in which groups of query heads share one key/value head, with rotary positions
// and a key/value cache (Ainslie et al. 2023; Shazeer 2019; Su et al. 2021).
#include <attn/sdk/plugin.hpp>

#include <cmath>

using namespace attn::sdk;

namespace {

struct Params {
  int64_t dim = 0, num_heads = 0, num_kv_heads = 0, max_seq_len = 2048;
  double dropout_rate = 0.0, rope_percentage = 1.0, rope_theta = 10000.0;
  bool use_bias = false;
  std::string probability_type = "softmax";
  Setting probability_config;
  std::optional<std::string> qk_norm_type;
  Setting qk_norm_kwargs;
  Setting kernel_initializer = "glorot_uniform", bias_initializer = "zeros";
  Setting kernel_regularizer, bias_regularizer;
};

struct Arguments {
  bool return_attention_weights = false;
  std::optional<bool> use_causal_mask;     // null: only with a state
  std::optional<int64_t> position_offset;  // null: the length of the state, 0 without one
};

struct GroupedQueryAttention : Layer<Params, Arguments> {
  static constexpr TypeInfo info{
      .id = "group_query",
      .class_name = "GroupedQueryAttention",
      .description = "Self-attention in which groups of query heads share one key/value head.",
      .use_case = "Language models whose key/value cache is the limit.",
      .input_shape = "(batch, seq_len, dim)",
      .complexity = "O(seq_len^2 * dim), cache smaller by num_heads / num_kv_heads",
      .paper = "GQA (2305.13245)"};

  static void describe(Schema<Params, Arguments>& s) {
    s.field("dim", &Params::dim).required().above(0).doc("model width");
    s.field("num_heads", &Params::num_heads).required().above(0).doc("number of query heads");
    s.field("num_kv_heads", &Params::num_kv_heads)
        .required()
        .above(0)
        .doc("number of key/value heads; divides num_heads");
    s.field("max_seq_len", &Params::max_seq_len)
        .above(0)
        .doc("positions that exist, and the capacity of a cache");
    s.field("dropout_rate", &Params::dropout_rate)
        .between(0, 1)
        .doc("dropout on the attention weights");
    s.field("rope_percentage", &Params::rope_percentage)
        .between(0, 1)
        .doc("share of each head that rotates with the position; 0: none");
    s.field("rope_theta", &Params::rope_theta).above(0).doc("base of the rotation frequencies");
    s.field("use_bias", &Params::use_bias).doc("biases in all four projections");
    s.field("probability_type", &Params::probability_type).probability().doc("scores to weights");
    s.field("probability_config", &Params::probability_config)
        .options("probability_type")
        .doc("its options");
    s.field("qk_norm_type", &Params::qk_norm_type)
        .norm()
        .doc("norm of each head's queries and keys, after the rotation");
    s.field("qk_norm_kwargs", &Params::qk_norm_kwargs).options("qk_norm_type").doc("its options");
    s.field("kernel_initializer", &Params::kernel_initializer).initializer().doc("of all kernels");
    s.field("bias_initializer", &Params::bias_initializer)
        .initializer()
        .nullable()
        .doc("of all biases");
    s.field("kernel_regularizer", &Params::kernel_regularizer).regularizer().doc("of all kernels");
    s.field("bias_regularizer", &Params::bias_regularizer).regularizer().doc("of all biases");
    s.divisible<0, 1>();
    s.divisible<1, 2>();
    s.input("inputs", {"batch, seq, dim", "batch, height, width, dim"})
        .doc("a sequence, or a map that is read row by row");
    s.input("attention_mask", {"key", "batch, key", "batch, query, key", "batch, head, query, key"})
        .mask()
        .doc("keys that may be used (> 0); with a state, over all positions so far");
    s.argument("return_attention_weights", &Arguments::return_attention_weights)
        .alias({"return_attention_scores"})
        .doc("also give the attention weights");
    s.argument("use_causal_mask", &Arguments::use_causal_mask)
        .causal()
        .doc("a position uses itself and earlier ones only; null: true with a state, else false");
    s.argument("position_offset", &Arguments::position_offset)
        .at_least(0)
        .doc("position of the first token; null: the length of the state, 0 without one");
    s.output("output", "batch, seq, dim").doc("shaped as the input");
    s.output("attention_weights", "batch, head, query, key")
        .when("return_attention_weights")
        .doc("after dropout in training");
  }

  int64_t head = 0, rope_dim = 0;
  Weight w_q, w_q_bias, w_k, w_k_bias, w_v, w_v_bias, w_o, w_o_bias;
  State key_cache, value_cache;
  Norm q_norm, k_norm;
  Probability attn_prob;

  void build(Builder& b) {
    const int64_t d = p.dim;
    head = p.dim / p.num_heads;
    rope_dim = b.rotated(head, p.rope_percentage);
    const int64_t kv_width = product("num_kv_heads * head size", p.num_kv_heads, head);
    const auto kernel = [&](const char* name, int64_t width) {
      return b.weight(name, {d, width}, p.kernel_initializer, p.kernel_regularizer);
    };
    const auto bias = [&](const char* name, int64_t width) {
      return b.weight(name, {width}, p.bias_initializer, p.bias_regularizer, p.use_bias);
    };
    w_q = kernel("w_q/kernel", d);
    w_q_bias = bias("w_q/bias", d);
    rope_dim = static_cast<int64_t>(static_cast<double>(head) * p.rope_percentage) / 2 * 2;
    w_k = kernel("w_k/kernel", kv_width);
    w_k_bias = bias("w_k/bias", kv_width);
    w_v = kernel("w_v/kernel", kv_width);
    w_v_bias = bias("w_v/bias", kv_width);
    w_o = kernel("w_o/kernel", d);
    w_o_bias = bias("w_o/bias", d);
    if (p.rope_percentage > 0)  // made for whatever max_seq_len the file's layer had
      for (const char* table : {"rope/cos_cached", "rope/sin_cached"}) b.derived(table, {0, 0});
    attn_prob = b.probability("attn_prob", p.probability_type, p.probability_config);
    const int64_t tokens = b.positions(0, b.input(0).rank == 4 ? 4 : 3);
    q_norm = b.norm("q_norm", p.qk_norm_type, p.qk_norm_kwargs, {-1, p.num_heads, tokens, head});
    k_norm = b.norm("k_norm", p.qk_norm_type, p.qk_norm_kwargs, {-1, p.num_kv_heads, tokens, head});
    key_cache = b.history("keys", {-1, p.num_kv_heads, -1, head}, 2, p.max_seq_len);
    value_cache = b.history("values", {-1, p.num_kv_heads, -1, head}, 2, p.max_seq_len);
  }

  void forward(Call& c, const Arguments& a) const {
    const Tensor input = c.input(0);
    const bool causal = a.use_causal_mask.value_or(c.stateful());
    const int64_t position = a.position_offset.value_or(c.position());
    if (input.rank() != 3 && input.rank() != 4)
      fail("Input must be 3D (batch, seq, dim) or 4D (batch, height, width, dim), got shape %s",
           input.shape_text().c_str());
    const Tensor x = input.rank() == 3
                         ? input
                         : input.reshape({input.dim(0), input.dim(1) * input.dim(2), input.dim(3)});
    check_sequence(x, p.dim);
    check_call(c, input, position, x.dim(1));

    Tensor q = split_heads(linear(x, c[w_q], c[w_q_bias]), p.num_heads);
    Tensor k = split_heads(linear(x, c[w_k], c[w_k_bias]), p.num_kv_heads);
    Tensor v = split_heads(linear(x, c[w_v], c[w_v_bias]), p.num_kv_heads);
    if (rope_dim > 0) {
      q = rope(q, p.rope_theta, rope_dim, position);
      k = rope(k, p.rope_theta, rope_dim, position);
    }
    q = norm(c, q_norm, q);
    k = norm(c, k_norm, k);
    // With a state these are all keys and values so far, and the queries are the last of them.
    k = c.cache(key_cache, k);
    v = c.cache(value_cache, v);
    const Attended o = attention(c, q, k, v, attn_prob,
                                 {.scale = 1.0 / std::sqrt(static_cast<double>(head)),
                                  .causal = causal,
                                  .offset = k.dim(2) - q.dim(2),
                                  .dropout = c.training() ? p.dropout_rate : 0.0},
                                 c.input(1), {}, c.wants(1));
    const Tensor y = linear(merge_heads(o.output), c[w_o], c[w_o_bias]);
    c.output(0, input.rank() == 3 ? y : y.reshape(input.shape()));
    if (c.wants(1)) c.output(1, o.weights);
  }

 private:
  // Everything that can be refused before the first operator runs. length: new tokens.
  void check_call(const Call& c, const Tensor& input, int64_t position, int64_t length) const {
    if (rope_dim > 0 && position > p.max_seq_len - length)
      fail(
          "%lld positions from %lld on do not fit in max_seq_len (%lld); build the layer with a "
          "larger max_seq_len",
          static_cast<long long>(length), static_cast<long long>(position),
          static_cast<long long>(p.max_seq_len));
    if (!c.stateful()) return;
    if (input.rank() == 4)
      fail("a cached call takes (batch, seq, dim), got shape %s", input.shape_text().c_str());
    if (position != c.position())
      fail("position_offset (%lld) must equal the length of the state (%lld); leave it out",
           static_cast<long long>(position), static_cast<long long>(c.position()));
  }
};

}  // namespace

ATTN_PLUGIN("group_query", "1.0.0", "Apache-2.0", GroupedQueryAttention)
