// SPDX-License-Identifier: Apache-2.0
//
// What stands around attention in a transformer, as layers of a plugin: example.norm and example.feed_forward. They
// have gradients, weight files and the library's kernels like every type.
#include <attn/sdk/plugin.hpp>

using namespace attn::sdk;

namespace {

struct NormParams {
  int64_t dim = 0;
  std::optional<std::string> norm_type = "layer_norm";
  ComponentSpec norm_kwargs;
};

struct NormLayer : Layer<NormParams> {
  static constexpr TypeInfo info{.id = "example.norm",
                                 .class_name = "ExampleNorm",
                                 .description = "A norm of each position.",
                                 .use_case = "Before or after attention.",
                                 .input_shape = "(batch, seq_len, dim)",
                                 .complexity = "O(seq_len * dim)",
                                 .paper = "Layer Normalization (1607.06450)"};
  static void describe(Schema<NormParams>& s) {
    s.field("dim", &NormParams::dim).required().above(0).doc("width of the input");
    s.field("norm_type", &NormParams::norm_type).norm().doc("which norm; null: none");
    s.field("norm_kwargs", &NormParams::norm_kwargs).options("norm_type").doc("its options");
    s.input("inputs", {"batch, seq, dim"}).doc("a sequence");
    s.output("output", "batch, seq, dim").doc("shaped as the input");
    s.claims({Claim::deterministic});
  }
  Norm each;
  void build(Builder& b) { each = b.norm("norm", p.norm_type, p.norm_kwargs, {-1, -1, p.dim}); }
  void forward(Call& c) const {
    check_sequence(c.input(0), p.dim);
    c.output(0, norm(c, each, c.input(0)));
  }
};

struct FeedForwardParams : blocks::KernelsAndBiases {
  int64_t dim = 0, outputs = 0;
  std::optional<int64_t> hidden;
  std::optional<std::string> activation_type = "gelu";
  ComponentSpec activation_kwargs;
  bool use_bias = true;
};

struct FeedForwardLayer : Layer<FeedForwardParams> {
  using P = FeedForwardParams;
  static constexpr TypeInfo info{.id = "example.feed_forward",
                                 .class_name = "ExampleFeedForward",
                                 .description = "One or two dense layers at each position.",
                                 .use_case = "After attention; embeddings and heads of models.",
                                 .input_shape = "(batch, seq_len, dim)",
                                 .complexity = "O(seq_len * hidden * (dim + outputs))",
                                 .paper = "Attention Is All You Need (1706.03762), section 3.3"};
  static void describe(Schema<P>& s) {
    s.field("dim", &P::dim).required().above(0).doc("width of the input");
    s.field("outputs", &P::outputs).required().above(0).doc("width of the output");
    s.field("hidden", &P::hidden).above(0).doc("units of the first layer; null: one layer only");
    blocks::activation(s, "activation_type", &P::activation_type, "activation_kwargs",
                       &P::activation_kwargs, "between the two layers");
    s.field("use_bias", &P::use_bias).doc("biases in all layers");
    blocks::kernels_and_biases(s, "of all kernels", "of all biases");
    s.input("inputs", {"batch, seq, dim"}).doc("a sequence");
    s.output("output", "batch, seq, outputs").doc("as long as the input");
    s.claims({Claim::batch_independent, Claim::equivariant, Claim::deterministic});
  }
  Dense first, last;
  Activation between;
  void build(Builder& b) {
    if (p.hidden) {
      first = b.dense("first", p.dim, *p.hidden, p);
      between =
          b.activation("between", p.activation_type, p.activation_kwargs, {-1, -1, *p.hidden});
    }
    last = b.dense("last", p.hidden.value_or(p.dim), p.outputs, p);
  }
  void forward(Call& c) const {
    check_sequence(c.input(0), p.dim);
    const Tensor x = p.hidden ? activation(c, between, dense(c, first, c.input(0))) : c.input(0);
    c.output(0, dense(c, last, x));
  }
};

}  // namespace

ATTN_PLUGIN("example_parts", "1.0.0", "Apache-2.0", NormLayer, FeedForwardLayer)
