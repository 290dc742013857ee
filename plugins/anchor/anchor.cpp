// SPDX-License-Identifier: Apache-2.0
//
// Self-attention in which, on request, only the first tokens serve as keys and values. Related to the
// inducing points of Lee et al. 2019 and the global tokens of Beltagy et al. 2020.
#include <attn/sdk/plugin.hpp>

#include <cmath>

using namespace attn::sdk;

namespace {

struct Params {
  int64_t dim = 0, num_heads = 8;
  double dropout_rate = 0.0;
  std::optional<int64_t> head_dim;
  bool use_bias = true;
  std::string probability_type = "softmax";
  Setting probability_config;
  Setting kernel_initializer = "glorot_uniform", bias_initializer = "zeros";
  Setting kernel_regularizer, bias_regularizer;
};

struct Arguments {
  std::optional<int64_t> num_anchor_tokens;  // null: every token is a key
};

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
    s.field("dropout_rate", &Params::dropout_rate)
        .between(0, 1)
        .doc("dropout on the attention weights");
    s.field("head_dim", &Params::head_dim).above(0).doc("width of a head; null: dim / num_heads");
    s.field("use_bias", &Params::use_bias).doc("biases in all five projections");
    s.field("probability_type", &Params::probability_type).probability().doc("scores to weights");
    s.field("probability_config", &Params::probability_config)
        .options("probability_type")
        .doc("its options");
    s.field("kernel_initializer", &Params::kernel_initializer).initializer().doc("of all kernels");
    s.field("bias_initializer", &Params::bias_initializer)
        .initializer()
        .nullable()
        .doc("of all biases");
    s.field("kernel_regularizer", &Params::kernel_regularizer).regularizer().doc("of all kernels");
    s.field("bias_regularizer", &Params::bias_regularizer).regularizer().doc("of all biases");
    s.divisible<0, 1>();
    s.input("inputs", {"batch, seq, dim"}).doc("the sequence, anchors first");
    s.argument("num_anchor_tokens", &Arguments::num_anchor_tokens)
        .doc("how many first tokens are keys and values; null, or seq and more: all, as usual");
    s.output("output", "batch, seq, dim");
  }

  void settle() {
    if (!p.head_dim) p.head_dim = p.dim / p.num_heads;
  }

  struct Projection {
    Weight kernel, bias;
  };
  Projection query, key, value, token_query, output;
  Probability score_activation;

  void build(Builder& b) {
    const int64_t d = p.dim, width = inner_width();
    const auto projection = [&](const char* kernel, const char* bias, int64_t in, int64_t out) {
      return Projection{b.weight(kernel, {in, out}, p.kernel_initializer, p.kernel_regularizer),
                        b.weight(bias, {out}, p.bias_initializer, p.bias_regularizer, p.use_bias)};
    };
    query = projection("query_proj/kernel", "query_proj/bias", d, width);
    key = projection("key_proj/kernel", "key_proj/bias", d, width);
    value = projection("value_proj/kernel", "value_proj/bias", d, width);
    token_query = projection("query_token_proj/kernel", "query_token_proj/bias", d, width);
    output = projection("output_proj/kernel", "output_proj/bias", width, d);
    score_activation = b.probability("score_activation", p.probability_type, p.probability_config);
  }

  void forward(Call& c, const Arguments& a) const {
    const Tensor x = c.input(0);
    check_sequence(x, p.dim);
    const int64_t tokens = x.dim(1), anchors = a.num_anchor_tokens.value_or(tokens);
    if (anchors <= 0)
      fail("num_anchor_tokens must be positive, got %lld; leave it out to use every token",
           static_cast<long long>(anchors));
    const auto project = [&](const Projection& w, const Tensor& t) {
      return linear(t, c[w.kernel], c[w.bias]);
    };
    // Keys and values come from the anchors alone, and so do queries by query_proj.
    const Tensor head = anchors < tokens ? x.slice(1, 0, anchors) : x;
    Tensor q = project(query, head);
    if (anchors < tokens) {
      const Tensor rest = project(token_query, x.slice(1, anchors, tokens));
      q = concat({&q, &rest}, 1);
    }
    const Tensor k = split_heads(project(key, head), p.num_heads);
    const Tensor v = split_heads(project(value, head), p.num_heads);
    const double scale = 1.0 / std::sqrt(static_cast<double>(inner_width() / p.num_heads));
    const Attended o = attention(c, split_heads(q, p.num_heads), k, v, score_activation,
                                 {.scale = scale, .dropout = c.training() ? p.dropout_rate : 0.0});
    c.output(0, project(output, merge_heads(o.output)));
  }

 private:
  [[nodiscard]] int64_t inner_width() const {
    return product("num_heads * head_dim", p.num_heads, p.head_dim.value_or(p.dim / p.num_heads));
  }
};

}  // namespace

ATTN_PLUGIN("anchor", "1.0.0", "Apache-2.0", AnchorAttention)
