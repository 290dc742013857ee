// SPDX-License-Identifier: Apache-2.0
//
// A feature map times its channel gates, and the result times its pixel gates (Woo et al. 2018, eq.
// 1-3).
#include <attn/sdk/plugin.hpp>

using namespace attn::sdk;

namespace {

struct Params {
  int64_t channels = 0, ratio = 8, kernel_size = 7;
  bool channel_use_bias = false, spatial_use_bias = true;
  ComponentSpec channel_kernel_initializer = "glorot_uniform";
  ComponentSpec spatial_kernel_initializer = "glorot_uniform";
  ComponentSpec channel_kernel_regularizer, spatial_kernel_regularizer;
};

// What Builder::dense() reads, of one of the two stages.
struct Stage {
  ComponentSpec kernel_initializer, kernel_regularizer;
  bool use_bias;
};

struct CBAM : Layer<Params> {
  static constexpr TypeInfo info{
      .id = "cbam",
      .class_name = "CBAM",
      .description = "Channel gates followed by spatial gates, applied to the feature map.",
      .use_case = "Refinement block for any CNN.",
      .input_shape = "(batch, H, W, channels)",
      .complexity = "O(H * W * channels)",
      .paper = "CBAM (1807.06521)"};

  static void describe(Schema<Params>& s) {
    s.field("channels", &Params::channels).required().above(0).doc("channels of the input");
    s.field("ratio", &Params::ratio)
        .above(0)
        .doc("the channel stage has channels / ratio hidden units; divides channels");
    s.field("kernel_size", &Params::kernel_size)
        .above(0)
        .odd()
        .doc("rows and columns of the spatial stage's convolution");
    s.field("channel_use_bias", &Params::channel_use_bias).doc("biases of the channel stage");
    s.field("spatial_use_bias", &Params::spatial_use_bias).doc("bias of the spatial stage");
    s.field("channel_kernel_initializer", &Params::channel_kernel_initializer)
        .initializer()
        .doc("of both kernels of the channel stage, each drawn by itself");
    s.field("spatial_kernel_initializer", &Params::spatial_kernel_initializer)
        .initializer()
        .doc("of the kernel of the spatial stage");
    s.field("channel_kernel_regularizer", &Params::channel_kernel_regularizer)
        .regularizer()
        .doc("of both kernels of the channel stage");
    s.field("spatial_kernel_regularizer", &Params::spatial_kernel_regularizer)
        .regularizer()
        .doc("of the kernel of the spatial stage");
    s.divisible(&Params::channels, &Params::ratio);
    s.input("inputs", {"batch, height, width, channels"}).doc("the feature map");
    s.output("output", "batch, height, width, channels").doc("the refined map");
    s.claims({Claim::batch_independent, Claim::deterministic});
    blocks::equivariant_when(s, "kernel_size = 1",
                             [](const Params& p) { return p.kernel_size == 1; });
  }

  Dense dense_1, dense_2, conv;
  Activation relu, sigmoid;

  void build(Builder& b) {
    const int64_t width = p.channels / p.ratio, n = p.kernel_size;
    const Stage channel{p.channel_kernel_initializer, p.channel_kernel_regularizer,
                        p.channel_use_bias};
    const Stage spatial{p.spatial_kernel_initializer, p.spatial_kernel_regularizer,
                        p.spatial_use_bias};
    dense_1 = b.dense("channel_attention/channel_attention_dense_1", p.channels, width, channel);
    dense_2 = b.dense("channel_attention/channel_attention_dense_2", width, p.channels, channel);
    conv = b.dense("spatial_attention/spatial_attention_conv", {n, n, 2, 1}, 1, spatial,
                   spatial.use_bias);
    relu = b.activation("relu", "relu", {}, {-1, 2, width});
    sigmoid = b.activation("sigmoid", "sigmoid", {}, {-1, -1, -1, -1});
  }

  void forward(Call& c) const {
    const Tensor x = c.input(0);
    check_feature_map(x, p.channels);

    // y = x g is read twice, and made anew each time: writing it down would cost more.
    const Tensor g = channel_gates(c, x);
    const Tensor logits = conv2d(mean_max(x, {3}, g), c[conv.kernel], c[conv.bias]);
    const Tensor planes = activation(c, sigmoid, logits);
    if (c.observed()) {
      c.label("channel");
      c.observe("gate", g);
      c.label("spatial");
      c.observe("gate", planes);
    }
    c.output(0, mul(x, g, planes));
  }

 private:
  // (batch, 1, 1, channels). The layer behind relu is linear: both paths are added before it.
  Tensor channel_gates(const Call& c, const Tensor& x) const {
    const Tensor pooled = mean_max(x, {1, 2}).permute({0, 2, 1});
    const Tensor hidden = activation(c, relu, dense(c, dense_1, pooled));
    const Tensor twice = p.channel_use_bias ? affine(c[dense_2.bias], 2) : Tensor{};
    const Tensor z = linear(sum(hidden, {1}), c[dense_2.kernel], twice);
    return activation(c, sigmoid, z.reshape({x.dim(0), 1, 1, p.channels}));
  }
};

}  // namespace

ATTN_PLUGIN("cbam", "1.0.0", "Apache-2.0", CBAM)
