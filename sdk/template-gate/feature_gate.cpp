// SPDX-License-Identifier: Apache-2.0
//
// Squeeze and excitation: each channel of a feature map times a gate between 0 and 1, which two dense layers compute
// from the means of all channels (Hu et al. 2017, arXiv 1709.01507, section 3).
#include <attn/sdk/plugin.hpp>

using namespace attn::sdk;

namespace {

struct Params : blocks::KernelsAndBiases {
  int64_t channels = 0, ratio = 8;
  bool use_bias = true;
  std::optional<std::string> activation_type = "relu";
  ComponentSpec activation_args;
};

struct FeatureGateLayer : Layer<Params> {
  static constexpr TypeInfo info{.id = "example.feature_gate",
                                 .class_name = "FeatureGate",
                                 .description = "Channels scaled by gates from their means.",
                                 .use_case = "Recalibration of channels in a CNN.",
                                 .input_shape = "(batch, H, W, channels)",
                                 .complexity = "O(H * W * channels + channels^2 / ratio)",
                                 .paper = "Squeeze-and-Excitation Networks (1709.01507)"};

  static void describe(Schema<Params>& s) {
    s.field("channels", &Params::channels).required().above(0).doc("channels of the input");
    s.field("ratio", &Params::ratio)
        .above(0)
        .doc("the hidden layer has channels / ratio units; divides channels");
    s.field("use_bias", &Params::use_bias).doc("biases in both dense layers");
    blocks::kernels_and_biases(s, "of both kernels", "of both biases");
    // A config chooses the activation by name: those of the host, with their options.
    blocks::activation(s, "activation_type", &Params::activation_type, "activation_args",
                       &Params::activation_args, "between the dense layers");
    s.divisible(&Params::channels, &Params::ratio);
    s.input("inputs", {"batch, height, width, channels"}).doc("the feature map");
    s.output("output", "batch, height, width, channels").doc("the map times the gates");
    // What `attn check` tries to refute: pixels may change places, and then the outputs do.
    s.claims({Claim::batch_independent, Claim::equivariant, Claim::deterministic});
  }

  Dense squeeze, excite;
  Activation hidden;

  void build(Builder& b) {
    const int64_t units = p.channels / p.ratio;
    squeeze = b.dense("squeeze", p.channels, units, p);
    hidden = b.activation("hidden", p.activation_type, p.activation_args, {-1, units});
    excite = b.dense("excite", units, p.channels, p);
  }

  void forward(Call& c) const {
    const Tensor x = c.input(0);
    check_feature_map(x, p.channels);
    const Tensor means = mean(x, {1, 2});  // (batch, channels)
    const Tensor z = dense(c, excite, activation(c, hidden, dense(c, squeeze, means)));
    c.output(0, mul(x, sigmoid(z).reshape({x.dim(0), 1, 1, p.channels})));
  }
};

}  // namespace

ATTN_PLUGIN("feature_gate", "1.0.0", "Apache-2.0", FeatureGateLayer)
