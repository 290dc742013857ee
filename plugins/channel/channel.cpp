// SPDX-License-Identifier: Apache-2.0
//
// One gate for each channel of a feature map, from the mean and the maximum over all pixels (Woo et
// al. 2018, eq. 2). Gives the gates alone; the user multiplies the map by them.
#include <attn/sdk/plugin.hpp>

using namespace attn::sdk;

namespace {

struct Params {
  int64_t channels = 0, ratio = 8;
  bool use_bias = false;
  Setting kernel_initializer = "glorot_uniform", kernel_regularizer;
  std::optional<std::string> intermediate_activation_type = "relu";
  Setting intermediate_activation_args;
  std::optional<std::string> gate_activation_type = "sigmoid";
  Setting gate_activation_args;
};

struct ChannelAttention : Layer<Params> {
  static constexpr TypeInfo info{
      .id = "channel",
      .class_name = "ChannelAttention",
      .description =
          "One gate per channel from average and maximum pooling through a shared two-layer "
          "network.",
      .use_case = "Channel recalibration in a CNN.",
      .input_shape = "(batch, H, W, channels)",
      .complexity = "O(H * W * channels + channels^2 / ratio)",
      .paper = "CBAM (1807.06521)"};

  static void describe(Schema<Params>& s) {
    s.field("channels", &Params::channels).required().above(0).doc("channels of the input");
    s.field("ratio", &Params::ratio)
        .above(0)
        .doc("the hidden layer has channels / ratio units; divides channels");
    s.field("use_bias", &Params::use_bias).doc("biases in both dense layers");
    s.field("kernel_initializer", &Params::kernel_initializer)
        .initializer()
        .doc("of both kernels, each drawn by itself");
    s.field("kernel_regularizer", &Params::kernel_regularizer).regularizer().doc("of both kernels");
    s.field("intermediate_activation_type", &Params::intermediate_activation_type)
        .activation()
        .doc("between the dense layers");
    s.field("intermediate_activation_args", &Params::intermediate_activation_args)
        .options("intermediate_activation_type")
        .doc("its options");
    s.field("gate_activation_type", &Params::gate_activation_type)
        .activation()
        .doc("from the sum of both paths to the gates");
    s.field("gate_activation_args", &Params::gate_activation_args)
        .options("gate_activation_type")
        .doc("its options");
    s.divisible<0, 1>();
    s.input("inputs", {"batch, height, width, channels"}).doc("the feature map");
    s.output("output", "batch, 1, 1, channels").doc("the gates");
  }

  Weight kernel_1, bias_1, kernel_2, bias_2;
  Activation intermediate, gate;

  void build(Builder& b) {
    const int64_t width = p.channels / p.ratio;
    const auto kernel = [&](const char* name, int64_t from, int64_t to) {
      return b.weight(name, {from, to}, p.kernel_initializer, p.kernel_regularizer);
    };
    const auto bias = [&](const char* name, int64_t to) {
      return b.weight(name, {to}, "zeros", {}, p.use_bias);
    };
    kernel_1 = kernel("channel_attention_dense_1/kernel", p.channels, width);
    bias_1 = bias("channel_attention_dense_1/bias", width);
    intermediate =
        b.activation("channel_attention_intermediate_activation", p.intermediate_activation_type,
                     p.intermediate_activation_args, {-1, width});
    kernel_2 = kernel("channel_attention_dense_2/kernel", width, p.channels);
    bias_2 = bias("channel_attention_dense_2/bias", p.channels);
    gate = b.activation("channel_attention_gate_activation", p.gate_activation_type,
                        p.gate_activation_args, {-1, p.channels});
  }

  void forward(Call& c) const {
    const Tensor x = c.input(0);
    if (x.rank() != 4)
      fail("Input must be 4D (batch, height, width, channels), got shape %s",
           x.shape_text().c_str());
    if (x.dim(3) != p.channels)
      fail("Input last dimension (%lld) must match channels (%lld), got shape %s",
           static_cast<long long>(x.dim(3)), static_cast<long long>(p.channels),
           x.shape_text().c_str());
    if (x.size() == 0) fail("Input must not be empty, got shape %s", x.shape_text().c_str());

    // Both descriptors of an image are rows of one matrix; what follows the activation is linear, so
    // that they are added there, and the second bias counts twice.
    const Tensor pooled = mean_max(x, {1, 2}).permute({0, 2, 1});
    const Tensor hidden = activation(c, intermediate, linear(pooled, c[kernel_1], c[bias_1]));
    const Tensor twice = p.use_bias ? scale(c[bias_2], 2) : Tensor{};
    const Tensor z = linear(sum(hidden, {1}), c[kernel_2], twice);
    c.output(0, activation(c, gate, z).reshape({x.dim(0), 1, 1, p.channels}));
  }
};

}  // namespace

ATTN_PLUGIN("channel", "1.0.0", "Apache-2.0", ChannelAttention)
