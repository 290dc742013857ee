// SPDX-License-Identifier: Apache-2.0
//
// One gate for each pixel of a feature map, from the mean and the maximum over its channels (Woo et
// al. 2018, eq. 3). Gives the gates alone; the user multiplies the map by them.
#include <attn/sdk/plugin.hpp>

using namespace attn::sdk;

namespace {

struct Params : blocks::Kernels {
  int64_t kernel_size = 7;
  bool use_bias = true;
  std::optional<std::string> gate_activation_type = "sigmoid";
  ComponentSpec gate_activation_args;
};

struct SpatialAttention : Layer<Params> {
  static constexpr TypeInfo info{
      .id = "spatial",
      .class_name = "SpatialAttention",
      .description = "One gate per pixel from channel pooling and a convolution.",
      .use_case = "Spatial recalibration in a CNN.",
      .input_shape = "(batch, H, W, channels)",
      .complexity = "O(H * W * (channels + kernel_size^2))",
      .paper = "CBAM (1807.06521)"};

  static void describe(Schema<Params>& s) {
    s.field("kernel_size", &Params::kernel_size)
        .above(0)
        .odd()
        .doc("rows and columns of the convolution");
    s.field("use_bias", &Params::use_bias).doc("bias of the convolution");
    blocks::kernels(s, "of the kernel");
    blocks::activation(s, "gate_activation_type", &Params::gate_activation_type,
                       "gate_activation_args", &Params::gate_activation_args,
                       "from the convolution to the gates");
    s.input("inputs", {"batch, height, width, channels"}).doc("the feature map");
    s.input("attention_mask", {}).mask().unused().doc("of any shape; accepted, no effect");
    s.output("output", "batch, height, width, 1").doc("the gates");
    const auto by_pixel = [](const Params& p) {
      const std::string_view axis = p.gate_activation_args.option("axis");
      return axis.empty() || axis == "-1" || axis == "3";
    };
    s.claims({Claim::batch_independent, Claim::deterministic, Claim::mask_neutral});
    s.claim(Claim::reaches, "inputs", "the pixels under the kernel",
            [](const Params& p, auto&, const ClaimCall& c, int64_t out, int64_t in) {
              const int64_t width = c.dim(2), reach = p.kernel_size / 2;
              return std::abs(out / width - in / width) <= reach &&
                     std::abs(out % width - in % width) <= reach;
            })
        .when("gates by pixel", by_pixel);
    blocks::equivariant_when(s, "kernel_size = 1",
                             [](const Params& p) { return p.kernel_size == 1; });
    s.claim(Claim::inert, "others")
        .when("gate_activation_type is 1 for a single gate", [](const Params& p) {
          for (const char* name :
               {"softmax", "log_softmax", "sparsemax", "adaptive_softmax", "thresh_max"})
            if (p.gate_activation_type == name) return true;
          return false;
        });
  }

  Dense conv;
  Activation gate;

  void build(Builder& b) {
    const attn_shape& in = b.input(0);
    const bool is_map = in.rank == 4;
    conv =
        b.dense("spatial_attention_conv", {p.kernel_size, p.kernel_size, 2, 1}, 1, p, p.use_bias);
    gate = b.activation("spatial_attention_gate_activation", p.gate_activation_type,
                        p.gate_activation_args,
                        {-1, is_map ? in.dim[1] : -1, is_map ? in.dim[2] : -1, 1});
  }

  void forward(Call& c) const {
    const Tensor x = c.input(0);
    check_feature_map(x, -1);
    // Plane 0 is the mean, plane 1 the maximum; zeros surround these, not x.
    const Tensor gates =
        activation(c, gate, conv2d(mean_max(x, {3}), c[conv.kernel], c[conv.bias]));
    c.observe("gate", gates);
    c.output(0, gates);
  }
};

}  // namespace

ATTN_PLUGIN("spatial", "1.0.0", "Apache-2.0", SpatialAttention)
