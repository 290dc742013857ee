// SPDX-License-Identifier: Apache-2.0
//
// Self-attention whose heads exchange their scores before the softmax and their weights after it
// (Shazeer et al., Talking-Heads Attention, 2020, arXiv 2003.02436).
#include <attn/sdk/plugin.hpp>

#include <cmath>

using namespace attn::sdk;

namespace {

struct Params {
  int64_t dim = 0, num_heads = 8;
  ComponentSpec kernel_initializer = "glorot_uniform";
};

struct TalkingHeads : Layer<Params> {
  static constexpr TypeInfo info{
      .id = "example.talking_heads",
      .class_name = "TalkingHeadsAttention",
      .description = "Self-attention whose heads mix scores and weights.",
      .use_case = "Encoders with many narrow heads.",
      .input_shape = "(batch, seq_len, dim)",
      .complexity = "O(seq_len^2 * (dim + num_heads^2))",
      .paper = "Talking-Heads Attention (2003.02436)"};

  static void describe(Schema<Params>& s) {
    s.field("dim", &Params::dim).required().above(0).doc("model width");
    s.field("num_heads", &Params::num_heads).above(0).doc("number of heads; divides dim");
    s.field("kernel_initializer", &Params::kernel_initializer).initializer().doc("of all kernels");
    s.divisible(&Params::dim, &Params::num_heads);
    s.input("inputs", {"batch, seq, dim"}).doc("a sequence");
    s.input("attention_mask", {"key", "batch, key"}).mask().doc("keys that may be used (> 0)");
    s.output("output", "batch, seq, dim").doc("shaped as the input");
  }

  Weight qkv, before, after, proj;
  Probability softmax;

  void build(Builder& b) {
    qkv = b.weight("qkv/kernel", {p.dim, 3 * p.dim}, p.kernel_initializer);
    before = b.weight("before/kernel", {p.num_heads, p.num_heads}, p.kernel_initializer);
    after = b.weight("after/kernel", {p.num_heads, p.num_heads}, p.kernel_initializer);
    proj = b.weight("proj/kernel", {p.dim, p.dim}, p.kernel_initializer);
    softmax = b.probability("softmax", "softmax", {});
  }

  // (batch, head, query, key): each head becomes a mixture of all of them.
  static Tensor mix(const Tensor& x, const Tensor& kernel) {
    return linear(x.permute({0, 2, 3, 1}), kernel).permute({0, 3, 1, 2});
  }

  void forward(Call& c) const {
    check_sequence(c.input(0), p.dim);
    const Tensor all = linear(c.input(0), c[qkv]);
    const auto part = [&](int n) { return split_heads(all, p.num_heads, n, 3); };
    const double scale = 1 / std::sqrt(static_cast<double>(p.dim / p.num_heads));
    const Tensor scores = matmul(part(0), part(1), {.transpose_b = true, .alpha = scale});
    const Tensor weights = probability(c, softmax, mix(scores, c[before]), c.input(1));
    c.output(0, linear(merge_heads(matmul(mix(weights, c[after]), part(2))), c[proj]));
  }
};

}  // namespace

ATTN_PLUGIN("talking_heads", "1.0.0", "Apache-2.0", TalkingHeads)
