// SPDX-License-Identifier: Apache-2.0
//
// Multi-query attention between the pixels of a feature map with a learned residual weight; keys
// and values may be halved in height and width by a depthwise convolution (Shazeer 2019; the Mobile
// MQA block of Qin et al. 2024).
#include <attn/sdk/plugin.hpp>

using namespace attn::sdk;

namespace {

struct Params : blocks::ProbabilityChoice, blocks::Score, blocks::QkNorm {
  int64_t dim = 0, num_heads = 8;
  bool use_downsampling = false;
  ComponentSpec kernel_initializer = "he_normal", bias_initializer = "zeros";
  ComponentSpec kernel_regularizer, bias_regularizer;
  bool use_bias = true;
  double dropout_rate = 0.0;
};

struct Arguments {
  bool return_attention_weights = false;
};

struct MobileMQA : Layer<Params, Arguments> {
  static constexpr TypeInfo info{
      .id = "mobile_mqa",
      .class_name = "MobileMQA",
      .description = "Multi-query attention over pixels with optional strided keys and values.",
      .use_case = "Vision models on mobile and edge devices.",
      .input_shape = "(batch, H, W, dim)",
      .complexity = "O((H * W)^2 * dim), a quarter of it with downsampling",
      .paper = "MobileNetV4 (2404.10518)"};

  static void describe(Schema<Params, Arguments>& s) {
    s.field("dim", &Params::dim).required().above(0).doc("channels of the map");
    s.field("num_heads", &Params::num_heads)
        .above(0)
        .doc("query heads; they share one head of keys and values");
    s.field("use_downsampling", &Params::use_downsampling)
        .doc("halve height and width of keys and values by a depthwise convolution");
    blocks::kernels_and_biases(s, "of all kernels, the depthwise one included",
                               "of the biases of the four projections");
    s.field("use_bias", &Params::use_bias)
        .doc("biases in the four projections; the depthwise convolution always has one");
    blocks::dropout(s);
    blocks::probability(s);
    blocks::qk_norm(s);
    blocks::score_rules(s);
    s.divisible(&Params::dim, &Params::num_heads);
    s.input("inputs", {"batch, height, width, dim"}).doc("the feature map");
    blocks::attention_mask(
        s, "keys that may be used (> 0); with use_downsampling on the smaller grid");
    blocks::return_attention_weights(s);
    s.output("output", "batch, height, width, dim").doc("shaped as the input");
    blocks::attention_weights(s);
    blocks::batch_independent(s, &Params::qk_norm_type);
    s.claims({Claim::deterministic, Claim::mask_neutral});
    blocks::over_keys(s.claim(Claim::mask_respected)).unless(&Params::use_downsampling);
    blocks::equivariant_unless(s, &Params::use_downsampling);
    s.claim(Claim::inert, "key bias w_k/bias").unless(&Params::use_downsampling);
    blocks::over_keys(s.claim(Claim::inert, "w_k/bias"))
        .unless(&Params::use_downsampling)
        .unless(&Params::use_sinks)
        .unless(&Params::softcap)
        .when("qk_norm_type is a batch norm without axis", [](const Params& p) {
          return p.qk_norm_kwargs.option("axis").empty() &&
                 (p.qk_norm_type == "batch_norm" || p.qk_norm_type == "bias_free_batch_norm");
        });
    blocks::inert(s, {"query bias w_q/bias", "key norm k_norm", "query norm q_norm"});
    s.claim(Claim::inert, "others")
        .when("qk_norm_type takes off the mean over the heads", [](const Params& p) {
          const std::string_view axis = p.qk_norm_kwargs.option("axis");
          return p.qk_norm_type &&
                 (*p.qk_norm_type == "layer_norm" ||
                  p.qk_norm_type->starts_with("zero_centered_")) &&
                 (axis == "1" || axis == "-3");
        });
  }

  int64_t head = 0;
  Weight lambda;
  Dense w_q, w_k, w_v, w_o, downsample;
  Norm q_norm, k_norm;
  Probability attn_prob;

  void build(Builder& b) {
    const int64_t d = p.dim;
    head = d / p.num_heads;
    lambda = b.weight("lambda", {}, "ones");
    w_q = b.dense("w_q", d, d, p);
    w_k = b.dense("w_k", d, head, p);
    w_v = b.dense("w_v", d, head, p);
    w_o = b.dense("w_o", d, d, p);
    if (p.use_downsampling) {
      downsample.kernel = b.weight("downsample/kernel", {3, 3, head, 1}, p.kernel_initializer,
                                   p.kernel_regularizer);
      downsample.bias = b.weight("downsample/bias", {head}, "zeros");
    }
    attn_prob = b.probability("attn_prob", p, p.num_heads);
    q_norm = b.qk_norm("q_norm", p, {-1, p.num_heads, b.positions(0, 4), head});
    k_norm = b.qk_norm("k_norm", p, {-1, 1, key_pixels(b), head});
  }

  void forward(Call& c, const Arguments&) const {
    const Tensor x = c.input(0);
    check_feature_map(x, p.dim, "dim");

    // 1. and 2. Projections, numbered by pixel row by row; keys and values on their own grid.
    const Tensor pixels = positions(x);
    Tensor q = split_heads(dense(c, w_q, pixels), p.num_heads);
    const auto keys = [&](const Tensor& t) {
      if (!p.use_downsampling) return split_heads(t, 1);
      const Tensor map = t.reshape({x.dim(0), x.dim(1), x.dim(2), head});
      return split_heads(
          positions(depthwise_conv2d(map, c[downsample.kernel], c[downsample.bias], 2)), 1);
    };
    Tensor k = keys(dense(c, w_k, pixels));
    const Tensor v = keys(dense(c, w_v, pixels));
    // 4. to 7. Every query head meets the one head of keys and values.
    q = norm(c, q_norm, q);
    k = norm(c, k_norm, k);
    const Attended o =
        attention(c, q, k, v, attn_prob, {.dropout = p.dropout_rate}, c.input(1), {}, c.wants(1));
    const Tensor y = dense(c, w_o, merge_heads(o.output));
    // 8. The residual.
    c.output(0, add(x, mul(y.reshape(x.shape()), c[lambda])));
    if (c.wants(1)) c.output(1, o.weights);
  }

 private:
  // Of the grid of keys and values, as far as it is known when the layer is built.
  [[nodiscard]] int64_t key_pixels(const Builder& b) const {
    const int64_t pixels = b.positions(0, 4);
    if (pixels < 0 || !p.use_downsampling) return pixels;
    return (b.input(0).dim[1] + 1) / 2 * ((b.input(0).dim[2] + 1) / 2);
  }
  // (batch, H, W, n) -> (batch, H W, n)
  static Tensor positions(const Tensor& t) {
    return t.reshape({t.dim(0), t.dim(1) * t.dim(2), t.dim(3)});
  }
};

}  // namespace

ATTN_PLUGIN("mobile_mqa", "1.0.0", "Apache-2.0", MobileMQA)
