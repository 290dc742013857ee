// SPDX-License-Identifier: Apache-2.0
//
// Multi-query attention between the pixels of a feature map with a learned residual weight; keys
// and values may be halved in height and width by a depthwise convolution (Shazeer 2019; the Mobile
// MQA block of Qin et al. 2024).
#include <attn/sdk/plugin.hpp>

#include <cmath>

using namespace attn::sdk;

namespace {

struct Params {
  int64_t dim = 0, num_heads = 8;
  bool use_downsampling = false;
  Setting kernel_initializer = "he_normal", bias_initializer = "zeros";
  Setting kernel_regularizer, bias_regularizer;
  bool use_bias = true;
  double dropout_rate = 0.0;
  std::string probability_type = "softmax";
  Setting probability_config;
  std::optional<std::string> qk_norm_type;
  Setting qk_norm_kwargs;
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
    s.field("kernel_initializer", &Params::kernel_initializer)
        .initializer()
        .doc("of all kernels, the depthwise one included");
    s.field("bias_initializer", &Params::bias_initializer)
        .initializer()
        .nullable()
        .doc("of the biases of the four projections");
    s.field("kernel_regularizer", &Params::kernel_regularizer)
        .regularizer()
        .doc("of all kernels, the depthwise one included");
    s.field("bias_regularizer", &Params::bias_regularizer)
        .regularizer()
        .doc("of the biases of the four projections");
    s.field("use_bias", &Params::use_bias)
        .doc("biases in the four projections; the depthwise convolution always has one");
    s.field("dropout_rate", &Params::dropout_rate)
        .between(0, 1)
        .doc("dropout on the attention weights");
    s.field("probability_type", &Params::probability_type).probability().doc("scores to weights");
    s.field("probability_config", &Params::probability_config)
        .options("probability_type")
        .doc("its options");
    s.field("qk_norm_type", &Params::qk_norm_type)
        .norm()
        .doc("norm of each head's queries and keys");
    s.field("qk_norm_kwargs", &Params::qk_norm_kwargs).options("qk_norm_type").doc("its options");
    s.divisible<0, 1>();
    s.input("inputs", {"batch, height, width, dim"}).doc("the feature map");
    s.input("attention_mask", {"key", "batch, key", "batch, query, key", "batch, head, query, key"})
        .mask()
        .doc("keys that may be used (> 0); with use_downsampling on the smaller grid");
    s.argument("return_attention_weights", &Arguments::return_attention_weights)
        .alias({"return_attention_scores"})
        .doc("also give the attention weights");
    s.output("output", "batch, height, width, dim");
    s.output("attention_weights", "batch, head, query, key")
        .when("return_attention_weights")
        .doc("after dropout in training");
  }

  int64_t head = 0;
  Weight lambda, w_q, w_q_bias, w_k, w_k_bias, w_v, w_v_bias, w_o, w_o_bias;
  Weight downsample, downsample_bias;
  Norm q_norm, k_norm;
  Probability attn_prob;

  void build(Builder& b) {
    head = p.dim / p.num_heads;
    const auto kernel = [&](const char* name, int64_t width) {
      return b.weight(name, {p.dim, width}, p.kernel_initializer, p.kernel_regularizer);
    };
    const auto bias = [&](const char* name, int64_t width) {
      return b.weight(name, {width}, p.bias_initializer, p.bias_regularizer, p.use_bias);
    };
    lambda = b.weight("lambda", {}, "ones");
    w_q = kernel("w_q/kernel", p.dim);
    w_q_bias = bias("w_q/bias", p.dim);
    w_k = kernel("w_k/kernel", head);
    w_k_bias = bias("w_k/bias", head);
    w_v = kernel("w_v/kernel", head);
    w_v_bias = bias("w_v/bias", head);
    w_o = kernel("w_o/kernel", p.dim);
    w_o_bias = bias("w_o/bias", p.dim);
    if (p.use_downsampling) {
      downsample = b.weight("downsample/kernel", {3, 3, head, 1}, p.kernel_initializer,
                            p.kernel_regularizer);
      downsample_bias = b.weight("downsample/bias", {head}, "zeros");
    }
    attn_prob = b.probability("attn_prob", p.probability_type, p.probability_config);
    q_norm = b.norm("q_norm", p.qk_norm_type, p.qk_norm_kwargs,
                    {-1, p.num_heads, b.positions(0, 4), head});
    k_norm = b.norm("k_norm", p.qk_norm_type, p.qk_norm_kwargs, {-1, 1, key_pixels(b), head});
  }

  void forward(Call& c, const Arguments&) const {
    const Tensor x = c.input(0);
    if (x.rank() != 4)
      fail("Input must be 4D (batch, height, width, dim), got shape %s", x.shape_text().c_str());
    if (x.dim(3) != p.dim)
      fail("Input last dimension (%lld) must match dim (%lld), got shape %s",
           static_cast<long long>(x.dim(3)), static_cast<long long>(p.dim), x.shape_text().c_str());
    if (x.size() == 0) fail("Input must not be empty, got shape %s", x.shape_text().c_str());

    // 1. and 2. Projections, numbered by pixel row by row; keys and values on their own grid.
    const Tensor pixels = positions(x);
    Tensor q = split_heads(linear(pixels, c[w_q], c[w_q_bias]), p.num_heads);
    const auto keys = [&](const Tensor& t) {
      if (!p.use_downsampling) return split_heads(t, 1);
      const Tensor map = t.reshape({x.dim(0), x.dim(1), x.dim(2), head});
      return split_heads(positions(depthwise_conv2d(map, c[downsample], c[downsample_bias], 2)), 1);
    };
    Tensor k = keys(linear(pixels, c[w_k], c[w_k_bias]));
    const Tensor v = keys(linear(pixels, c[w_v], c[w_v_bias]));
    // 4. to 7. Every query head meets the one head of keys and values.
    q = norm(c, q_norm, q);
    k = norm(c, k_norm, k);
    const Attended o = attention(c, q, k, v, attn_prob,
                                 {.scale = 1.0 / std::sqrt(static_cast<double>(head)),
                                  .dropout = c.training() ? p.dropout_rate : 0.0},
                                 c.input(1), {}, c.wants(1));
    const Tensor y = linear(merge_heads(o.output), c[w_o], c[w_o_bias]);
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
