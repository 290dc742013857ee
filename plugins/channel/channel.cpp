// SPDX-License-Identifier: Apache-2.0
//
// One gate for each channel of a feature map, from the mean and the maximum over all pixels (Woo et
// al. 2018, eq. 2). Gives the gates alone; the user multiplies the map by them.
#include <attn/sdk/plugin.hpp>

using namespace attn::sdk;

namespace {

struct Params : blocks::Kernels {
  int64_t channels = 0, ratio = 8;
  bool use_bias = false;
  std::optional<std::string> intermediate_activation_type = "relu";
  ComponentSpec intermediate_activation_args;
  std::optional<std::string> gate_activation_type = "sigmoid";
  ComponentSpec gate_activation_args;
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
    blocks::kernels(s, "of both kernels", "of both kernels, each drawn by itself");
    blocks::activation(s, "intermediate_activation_type", &Params::intermediate_activation_type,
                       "intermediate_activation_args", &Params::intermediate_activation_args,
                       "between the dense layers");
    blocks::activation(s, "gate_activation_type", &Params::gate_activation_type,
                       "gate_activation_args", &Params::gate_activation_args,
                       "from the sum of both paths to the gates");
    s.divisible(&Params::channels, &Params::ratio);
    s.input("inputs", {"batch, height, width, channels"}).doc("the feature map");
    s.output("output", "batch, 1, 1, channels").doc("the gates");
    s.claims({Claim::batch_independent, Claim::deterministic, Claim::invariant});
  }

  Dense dense_1, dense_2;
  Activation intermediate, gate;

  void build(Builder& b) {
    const int64_t width = p.channels / p.ratio;
    dense_1 = b.dense("channel_attention_dense_1", p.channels, width, p);
    intermediate =
        b.activation("channel_attention_intermediate_activation", p.intermediate_activation_type,
                     p.intermediate_activation_args, {-1, width});
    dense_2 = b.dense("channel_attention_dense_2", width, p.channels, p);
    gate = b.activation("channel_attention_gate_activation", p.gate_activation_type,
                        p.gate_activation_args, {-1, p.channels});
  }

  void forward(Call& c) const {
    const Tensor x = c.input(0);
    check_feature_map(x, p.channels);

    // Both descriptors of an image are rows of one matrix; what follows the activation is linear, so
    // that they are added there, and the second bias counts twice.
    const Tensor pooled = mean_max(x, {1, 2}).permute({0, 2, 1});
    const Tensor hidden = activation(c, intermediate, dense(c, dense_1, pooled));
    const Tensor twice = p.use_bias ? affine(c[dense_2.bias], 2) : Tensor{};
    const Tensor z = linear(sum(hidden, {1}), c[dense_2.kernel], twice);
    const Tensor gates = activation(c, gate, z).reshape({x.dim(0), 1, 1, p.channels});
    c.observe("gate", gates);
    c.output(0, gates);
  }
};

}  // namespace

ATTN_PLUGIN("channel", "1.0.0", "Apache-2.0", ChannelAttention)
