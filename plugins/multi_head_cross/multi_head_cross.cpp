// SPDX-License-Identifier: Apache-2.0
//
// Scaled dot-product attention with several heads between two sequences, or within one (Vaswani et
// al. 2017, eq. 1 and section 3.2.2).
#include <attn/sdk/plugin.hpp>

#include <cctype>
#include <cmath>

using namespace attn::sdk;

namespace {

struct Params {
  int64_t dim = 0, num_heads = 8;
  double dropout_rate = 0.0;
  bool shared_qk_projections = false, use_adaptive_softmax = false, use_bias = true;
  std::string probability_type = "softmax";
  Setting probability_config;
  std::optional<std::string> qk_norm_type;
  Setting qk_norm_kwargs;
  Setting kernel_initializer = "glorot_uniform", bias_initializer = "zeros";
  Setting kernel_regularizer, bias_regularizer;
};

// The switch may stand beside the names that mean nothing else.
int32_t adaptive_is_consistent(const attn_value* v) {
  constexpr int kUseAdaptive = 4, kProbability = 6;
  if (v[kUseAdaptive].u.i == 0) return 1;
  std::string name = v[kProbability].u.s;
  for (char& c : name) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return name == "softmax" || name == "adaptive" || name == "adaptive_softmax";
}

struct MultiHeadCrossAttention : Layer<Params> {
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
    s.field("dropout_rate", &Params::dropout_rate)
        .between(0, 1)
        .doc("dropout on the attention weights");
    s.field("shared_qk_projections", &Params::shared_qk_projections)
        .doc("one fused projection for queries, keys and values; self-attention only");
    s.field("use_adaptive_softmax", &Params::use_adaptive_softmax)
        .doc("another way to say probability_type 'adaptive'");
    s.field("use_bias", &Params::use_bias).doc("biases in all projections");
    s.field("probability_type", &Params::probability_type).probability().doc("scores to weights");
    s.field("probability_config", &Params::probability_config)
        .options("probability_type", {"use_adaptive_softmax=adaptive"})
        .doc("its options");
    s.field("qk_norm_type", &Params::qk_norm_type)
        .norm()
        .doc("norm of each head's queries and keys");
    s.field("qk_norm_kwargs", &Params::qk_norm_kwargs).options("qk_norm_type").doc("its options");
    s.field("kernel_initializer", &Params::kernel_initializer).initializer().doc("of all kernels");
    s.field("bias_initializer", &Params::bias_initializer)
        .initializer()
        .nullable()
        .doc("of all biases");
    s.field("kernel_regularizer", &Params::kernel_regularizer).regularizer().doc("of all kernels");
    s.field("bias_regularizer", &Params::bias_regularizer).regularizer().doc("of all biases");
    s.divisible<0, 1>();
    s.rule("Parameter 'use_adaptive_softmax' conflicts with probability_type '{probability_type}'",
           &adaptive_is_consistent);
    s.input("query_input", {"batch, query, dim"}).doc("the sequence that asks");
    s.input("kv_input", {"batch, key, dim"})
        .optional()
        .doc(
            "the sequence that is asked; without it the query sequence asks itself. With a state: "
            "given once, then kept");
    s.input("attention_mask", {"key", "batch, key", "batch, query, key", "batch, head, query, key"})
        .mask()
        .doc("keys that may be used (> 0), of the sequence that is asked");
    s.output("output", "batch, query, dim");
  }

  Weight qkv, qkv_bias, q, q_bias, kv, kv_bias, proj, proj_bias;
  Norm q_norm, k_norm;
  Probability attn_prob;
  State kept_keys, kept_values;

  void build(Builder& b) {
    const int64_t d = p.dim, head = p.dim / p.num_heads;
    const int64_t three = product("3 * dim", 3, d), two = 2 * d;
    const bool shared = p.shared_qk_projections, bias = p.use_bias;
    const auto kernel = [&](const char* name, int64_t width, bool when) {
      return b.weight(name, {d, width}, p.kernel_initializer, p.kernel_regularizer, when);
    };
    const auto offset = [&](const char* name, int64_t width, bool when) {
      return b.weight(name, {width}, p.bias_initializer, p.bias_regularizer, when);
    };
    qkv = kernel("qkv/kernel", three, shared);
    qkv_bias = offset("qkv/bias", three, shared && bias);
    q = kernel("q/kernel", d, !shared);
    q_bias = offset("q/bias", d, !shared && bias);
    kv = kernel("kv/kernel", two, !shared);
    kv_bias = offset("kv/bias", two, !shared && bias);
    proj = kernel("proj/kernel", d, true);
    proj_bias = offset("proj/bias", d, bias);
    attn_prob = b.probability("attn_prob", p.use_adaptive_softmax ? "adaptive" : p.probability_type,
                              p.probability_config);
    q_norm = b.norm("q_norm", p.qk_norm_type, p.qk_norm_kwargs,
                    {-1, p.num_heads, b.positions(0, 3), head});
    k_norm = b.norm("k_norm", p.qk_norm_type, p.qk_norm_kwargs,
                    {-1, p.num_heads, b.positions(b.input(1).present ? 1 : 0, 3), head});
    if (shared) return;
    kept_keys = b.value("keys", {-1, p.num_heads, -1, head});
    kept_values = b.value("values", {-1, p.num_heads, -1, head});
  }

  void forward(Call& c) const {
    const Tensor x = c.input(0), other = c.input(1);
    check_sequence(x, p.dim, "Query");
    if (other) check_other(x, other);

    // 1.-3. Queries from x, keys and values from the other sequence; heads, norms.
    Tensor queries;
    Pair asked;
    if (p.shared_qk_projections) {
      const Tensor a = linear(x, c[qkv], c[qkv_bias]);
      queries = split_heads(a, p.num_heads, 0, 3);
      asked = {norm(c, k_norm, split_heads(a, p.num_heads, 1, 3)),
               split_heads(a, p.num_heads, 2, 3)};
    } else {
      queries = split_heads(linear(x, c[q], c[q_bias]), p.num_heads);
      asked = c.stateful() ? kept(c, x, other) : project(c, other ? other : x);
    }
    queries = norm(c, q_norm, queries);
    // 4.-8. Scaled scores, mask, probability, dropout, values, projection.
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

  // Values are never normalised.
  Pair project(Call& c, const Tensor& y) const {
    const Tensor a = linear(y, c[kv], c[kv_bias]);
    return {norm(c, k_norm, split_heads(a, p.num_heads, 0, 2)), split_heads(a, p.num_heads, 1, 2)};
  }
  // The first call of a state keeps what it projects; later ones find it.
  Pair kept(Call& c, const Tensor& x, const Tensor& other) const {
    Pair pair{c.get(kept_keys), c.get(kept_values)};
    if (pair.keys && other)
      fail(
          "kv_input was given, but the state keeps one already; leave kv_input out or reset the "
          "state");
    if (!pair.keys) {
      if (!other) fail("kv_input is missing; the first call with a state needs it");
      pair = project(c, other);
      c.set(kept_keys, pair.keys);
      c.set(kept_values, pair.values);
    }
    if (pair.keys.dim(0) != x.dim(0))
      fail("Query batch (%lld) must equal the batch of the state (%lld), got shape %s",
           static_cast<long long>(x.dim(0)), static_cast<long long>(pair.keys.dim(0)),
           x.shape_text().c_str());
    return pair;
  }
  void check_other(const Tensor& x, const Tensor& other) const {
    if (p.shared_qk_projections)
      fail(
          "kv_input was given, but with shared_qk_projections the layer is self-attention only; "
          "leave kv_input out or set shared_qk_projections to false");
    check_sequence(other, p.dim, "KV");
    if (other.dim(0) != x.dim(0))
      fail("KV batch (%lld) must equal the query batch (%lld), got shapes %s and %s",
           static_cast<long long>(other.dim(0)), static_cast<long long>(x.dim(0)),
           other.shape_text().c_str(), x.shape_text().c_str());
  }
};

}  // namespace

ATTN_PLUGIN("multi_head_cross", "1.0.0", "Apache-2.0", MultiHeadCrossAttention)
