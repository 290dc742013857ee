// SPDX-License-Identifier: Apache-2.0
//
// Cross-attention of a small latent array to a large input array (Jaegle et al. 2021, section 3).
#include <attn/sdk/plugin.hpp>

#include <cmath>

using namespace attn::sdk;

namespace {

struct Params {
  int64_t dim = 0, num_heads = 8;
  double dropout_rate = 0.0;
  bool use_bias = true;
  Setting kernel_initializer = "glorot_uniform", bias_initializer = "zeros";
  Setting kernel_regularizer, bias_regularizer;
  std::string probability_type = "softmax";
  Setting probability_config;
  std::optional<std::string> qk_norm_type;
  Setting qk_norm_kwargs;
};

struct PerceiverAttention : Layer<Params> {
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
    s.field("dropout_rate", &Params::dropout_rate)
        .between(0, 1)
        .doc("dropout on the attention weights");
    s.field("use_bias", &Params::use_bias).doc("biases in all projections");
    s.field("kernel_initializer", &Params::kernel_initializer).initializer().doc("of all kernels");
    s.field("bias_initializer", &Params::bias_initializer)
        .initializer()
        .nullable()
        .doc("of all biases");
    s.field("kernel_regularizer", &Params::kernel_regularizer).regularizer().doc("of all kernels");
    s.field("bias_regularizer", &Params::bias_regularizer).regularizer().doc("of all biases");
    s.field("probability_type", &Params::probability_type).probability().doc("scores to weights");
    s.field("probability_config", &Params::probability_config)
        .options("probability_type")
        .doc("its options");
    s.field("qk_norm_type", &Params::qk_norm_type)
        .norm()
        .doc("norm of each head's queries and keys");
    s.field("qk_norm_kwargs", &Params::qk_norm_kwargs).options("qk_norm_type").doc("its options");
    s.divisible<0, 1>();
    s.input("query_input", {"batch, query, dim"}).doc("the latent array");
    s.input("kv_input", {"batch, key, dim"})
        .optional()
        .doc(
            "the input array; without it the latent array asks itself. With a state: given once, "
            "then kept");
    s.input("attention_mask", {"key", "batch, key", "batch, query, key", "batch, head, query, key"})
        .mask()
        .doc("positions of the input array that may be used (> 0)");
    s.output("output", "batch, query, dim");
  }

  Weight q, q_bias, kv, kv_bias, proj, proj_bias;
  Norm q_norm, k_norm;
  Probability attn_prob;
  State kept_keys, kept_values;

  void build(Builder& b) {
    const int64_t d = p.dim, head = p.dim / p.num_heads, both = product("2 * dim", 2, d);
    const auto kernel = [&](const char* name, int64_t width) {
      return b.weight(name, {d, width}, p.kernel_initializer, p.kernel_regularizer);
    };
    const auto bias = [&](const char* name, int64_t width) {
      return b.weight(name, {width}, p.bias_initializer, p.bias_regularizer, p.use_bias);
    };
    q = kernel("cross_attention/q/kernel", d);
    q_bias = bias("cross_attention/q/bias", d);
    kv = kernel("cross_attention/kv/kernel", both);
    kv_bias = bias("cross_attention/kv/bias", both);
    proj = kernel("cross_attention/proj/kernel", d);
    proj_bias = bias("cross_attention/proj/bias", d);
    attn_prob =
        b.probability("cross_attention/attn_prob", p.probability_type, p.probability_config);
    q_norm = b.norm("cross_attention/q_norm", p.qk_norm_type, p.qk_norm_kwargs,
                    {-1, p.num_heads, b.positions(0, 3), head});
    k_norm = b.norm("cross_attention/k_norm", p.qk_norm_type, p.qk_norm_kwargs,
                    {-1, p.num_heads, b.positions(b.input(1).present ? 1 : 0, 3), head});
    kept_keys = b.value("keys", {-1, p.num_heads, -1, head});
    kept_values = b.value("values", {-1, p.num_heads, -1, head});
  }

  void forward(Call& c) const {
    const Tensor x = c.input(0), input = c.input(1);
    check_sequence(x, p.dim, "Query");
    if (input) {
      check_sequence(input, p.dim, "KV");
      if (input.dim(0) != x.dim(0))
        fail("KV batch (%lld) must equal the query batch (%lld), got shapes %s and %s",
             static_cast<long long>(input.dim(0)), static_cast<long long>(x.dim(0)),
             input.shape_text().c_str(), x.shape_text().c_str());
    }
    const Tensor queries = norm(c, q_norm, split_heads(linear(x, c[q], c[q_bias]), p.num_heads));
    const Pair asked = c.stateful() ? kept(c, x, input) : project(c, input ? input : x);
    const double scale = 1.0 / std::sqrt(static_cast<double>(p.dim / p.num_heads));
    const Attended o =
        attention(c, queries, asked.keys, asked.values, attn_prob,
                  {.scale = scale, .dropout = c.training() ? p.dropout_rate : 0.0}, c.input(2));
    c.output(0, linear(merge_heads(o.output), c[proj], c[proj_bias]));
  }

 private:
  struct Pair {
    Tensor keys, values;
  };

  Pair project(Call& c, const Tensor& y) const {
    const Tensor a = linear(y, c[kv], c[kv_bias]);
    return {norm(c, k_norm, split_heads(a, p.num_heads, 0, 2)), split_heads(a, p.num_heads, 1, 2)};
  }
  // The first call of a state keeps what it projects; later ones find it.
  Pair kept(Call& c, const Tensor& x, const Tensor& input) const {
    Pair pair{c.get(kept_keys), c.get(kept_values)};
    if (pair.keys && input)
      fail(
          "kv_input was given, but the state keeps one already; leave kv_input out or reset the "
          "state");
    if (!pair.keys) {
      if (!input) fail("kv_input is missing; the first call with a state needs it");
      pair = project(c, input);
      c.set(kept_keys, pair.keys);
      c.set(kept_values, pair.values);
    }
    if (pair.keys.dim(0) != x.dim(0))
      fail("Query batch (%lld) must equal the batch of the state (%lld), got shape %s",
           static_cast<long long>(x.dim(0)), static_cast<long long>(pair.keys.dim(0)),
           x.shape_text().c_str());
    return pair;
  }
};

}  // namespace

ATTN_PLUGIN("perceiver", "1.0.0", "Apache-2.0", PerceiverAttention)
