// SPDX-License-Identifier: Apache-2.0
//
// Attention between all pixels of a feature map after a depthwise convolution (Wang et al. 2018,
// eq. 1-6; dot_product normalises with a softmax here, where the paper divides by the number of
// positions).
#include <attn/sdk/plugin.hpp>

#include <algorithm>
#include <atomic>
#include <cmath>

using namespace attn::sdk;

namespace {

struct Params : blocks::ProbabilityChoice, blocks::QkNorm, blocks::Score {
  int64_t attention_channels = 0;
  std::optional<std::string> normalization = "batch";
  std::string attention_mode = "gaussian";
  std::array<int64_t, 2> kernel_size{7, 7};
  bool use_bias = false;
  ComponentSpec normalization_kwargs;
  std::optional<std::string> intermediate_activation = "relu";
  ComponentSpec intermediate_activation_args;
  std::optional<std::string> output_activation = "linear";
  ComponentSpec output_activation_args;
  int64_t output_channels = -1;
  double dropout_rate = 0.0;
  ComponentSpec kernel_initializer = "glorot_normal", bias_initializer = "zeros";
  ComponentSpec kernel_regularizer, bias_regularizer, activity_regularizer;
};

struct NonLocalAttention : Layer<Params> {
  static constexpr TypeInfo info{
      .id = "non_local",
      .class_name = "NonLocalAttention",
      .description = "Attention between all pixels after a depthwise convolution.",
      .use_case = "Global context in a convolutional network.",
      .input_shape = "(batch, H, W, channels)",
      .complexity = "O((H * W)^2 * attention_channels)",
      .paper = "Non-local Neural Networks (1711.07971)"};

  static void describe(Schema<Params>& s) {
    s.field("attention_channels", &Params::attention_channels)
        .required()
        .above(0)
        .doc("width of the embedding; mode gaussian uses an eighth of it");
    s.field("normalization", &Params::normalization)
        .norm()
        .choices({"batch", "layer"})
        .alias({"output_norm_type"})
        .doc("norm after the depthwise convolution; batch is batch_norm, layer is layer_norm");
    s.field("attention_mode", &Params::attention_mode)
        .choices({"gaussian", "dot_product"})
        .doc("dot_product scales the scores by 1/sqrt(width), gaussian does not");
    s.field("kernel_size", &Params::kernel_size)
        .above(0)
        .doc("rows and columns of the depthwise kernel; one number is both");
    s.field("use_bias", &Params::use_bias).doc("biases in all five convolutions");
    s.field("normalization_kwargs", &Params::normalization_kwargs)
        .options("normalization")
        .alias({"output_norm_kwargs"})
        .doc("options of normalization");
    blocks::probability(s);
    blocks::qk_norm(s, "norm of queries and keys");
    blocks::activation(s, "intermediate_activation", &Params::intermediate_activation,
                       "intermediate_activation_args", &Params::intermediate_activation_args,
                       "after the depthwise convolution and on the keys");
    blocks::activation(s, "output_activation", &Params::output_activation, "output_activation_args",
                       &Params::output_activation_args, "at the end");
    s.field("output_channels", &Params::output_channels)
        .doc("width of the output; 0 or less: that of the input");
    s.field("dropout_rate", &Params::dropout_rate)
        .at_least(0)
        .below(1)
        .doc("dropout on the attention weights and, drawn again, on the output");
    blocks::kernels_and_biases(s, "of all five kernels", "of all biases");
    s.field("activity_regularizer", &Params::activity_regularizer)
        .regularizer()
        .doc("of the outputs of the five convolutions and of the layer");
    blocks::score_rules(s);
    s.input("inputs", {"batch, height, width, channels"}).doc("the feature map");
    blocks::attention_mask(
        s,
        "whole numbers: keys that may be used (> 0); floating: added to the scores, (key), (query, "
        "key) or (batch, query, key). The convolution before, and statistics of a batch in "
        "training calls, are over all pixels")
        .numbers()
        .partial();
    s.output("output", "batch, height, width, channels").doc("shaped as the input");
    const auto one_pixel = [](const Params& p) {
      return p.kernel_size[0] == 1 && p.kernel_size[1] == 1;
    };
    blocks::batch_independent(s, &Params::normalization, &Params::qk_norm_type);
    s.claims({Claim::deterministic, Claim::mask_neutral});
    blocks::without_batch_norm(
        blocks::over_keys(s.claim(Claim::mask_respected)).when("kernel_size = 1", one_pixel),
        &Params::normalization, &Params::qk_norm_type);
    blocks::equivariant_when(s, "kernel_size = 1", one_pixel);
    s.claim(Claim::inert, "depthwise_conv/bias")
        .unless(&Params::intermediate_activation)
        .when("training and normalization takes statistics of the batch", [](const Params& p, auto&,
                                                                             const ClaimCall& c) {
          return c.training() && (p.normalization == "batch" || p.normalization == "batch_norm" ||
                                  p.normalization == "bias_free_batch_norm");
        });
    blocks::inert(s, {"query bias query_conv/bias", "key norm k_norm", "query norm q_norm"});
    s.claim(Claim::inert, "others")
        .when("the probability runs over the one head", [](const Params& p) {
          const std::string_view axis = p.probability_config.option("axis");
          return axis == "1" || axis == "-3";
        });
    s.claim(Claim::inert, "key bias key_conv/bias")
        .when("intermediate_activation is linear", [](const Params& p) {
          return p.intermediate_activation.value_or("linear") == "linear";
        });
  }

  int64_t channels = 0, width = 0;
  Dense depthwise, query, key, value, output;
  Norm output_norm, q_norm, k_norm;
  Activation depthwise_activation, key_activation, output_activation;
  Probability attn_prob;
  Regularizer activity;

  void build(Builder& b) {
    const attn_shape& in = b.input(0);
    if (in.rank != 4 || in.dim[3] <= 0)
      fail(
          "the layer needs an input of rank 4, (batch, height, width, channels), with a known "
          "number of channels");
    channels = in.dim[3];
    width = p.attention_mode == "dot_product" ? p.attention_channels
                                              : std::max<int64_t>(1, p.attention_channels / 8);
    const int64_t out = p.output_channels > 0 ? p.output_channels : channels;
    depthwise = b.dense("depthwise_conv", {p.kernel_size[0], p.kernel_size[1], channels, 1},
                        channels, p, p.use_bias);
    const auto pointwise = [&](const char* convolution, int64_t from, int64_t to) {
      return b.dense(convolution, {1, 1, from, to}, to, p, p.use_bias);
    };
    query = pointwise("query_conv", channels, width);
    key = pointwise("key_conv", channels, width);
    value = pointwise("value_conv", channels, width);
    output = pointwise("output_conv", width, out);
    std::optional<std::string> name = p.normalization;
    if (name && (*name == "batch" || *name == "layer")) *name += "_norm";
    output_norm = b.norm("output_norm", name, p.normalization_kwargs,
                         {-1, in.dim[1], in.dim[2], channels}, ATTN_SITE_MAP);
    depthwise_activation =
        b.activation("depthwise_activation", p.intermediate_activation,
                     p.intermediate_activation_args, {-1, in.dim[1], in.dim[2], channels});
    key_activation =
        b.activation("key_activation", p.intermediate_activation, p.intermediate_activation_args,
                     {-1, in.dim[1], in.dim[2], width});
    output_activation = b.activation("output_activation", p.output_activation,
                                     p.output_activation_args, {-1, in.dim[1], in.dim[2], out});
    attn_prob = b.probability("attn_prob", p, 1);
    q_norm = b.qk_norm("q_norm", p, {-1, b.positions(0, 4), width});
    k_norm = b.qk_norm("k_norm", p, {-1, b.positions(0, 4), width});
    activity = b.regularizer(p.activity_regularizer);
  }

  void forward(Call& c) const {
    const Tensor x = c.input(0);
    check_feature_map(x, channels);
    const int64_t batch = x.dim(0), pixels = x.dim(1) * x.dim(2);
    Tensor keep, bias;
    read_mask(c.input(1), x.dtype(), batch, pixels, keep, bias);
    if (bias) warn_of_keep_mask(c, bias);

    // 1. Depthwise convolution and activation; 2. norm.
    Tensor u = depthwise_conv2d(x, c[depthwise.kernel], c[depthwise.bias]);
    penalize(c, activity, "depthwise_conv/activity", u);
    u = norm(c, output_norm, activation(c, depthwise_activation, u));
    // 3. Queries, keys and values of one head. Only the keys go through the activation.
    const auto positions = [&](const Tensor& t) { return t.reshape({batch, pixels, width}); };
    Tensor q = positions(convolve(c, query, u, "query_conv/activity"));
    Tensor k = positions(activation(c, key_activation, convolve(c, key, u, "key_conv/activity")));
    const Tensor v = positions(convolve(c, value, u, "value_conv/activity"));
    q = norm(c, q_norm, q);
    k = norm(c, k_norm, k);
    // 4. and 5. Scores, mask, probability.
    const double scale =
        p.attention_mode == "dot_product" ? 1.0 / std::sqrt(static_cast<double>(width)) : 1.0;
    const Attended o =
        attention(c, split_heads(q, 1), split_heads(k, 1), split_heads(v, 1), attn_prob,
                  {.scale = scale, .dropout = p.dropout_rate}, keep, bias);
    // 6. Back to the map.
    const Tensor map = o.output.reshape({batch, x.dim(1), x.dim(2), width});
    Tensor y = activation(c, output_activation, convolve(c, output, map, "output_conv/activity"));
    y = dropout(c, y, p.dropout_rate);
    penalize(c, activity, "activity", y);
    c.output(0, std::move(y));
  }

 private:
  Tensor convolve(Call& c, const Dense& w, const Tensor& x, const char* name) const {
    const Tensor kernel = c[w.kernel];  // (1, 1, in, out)
    const Tensor y = linear(x, kernel.reshape({kernel.dim(2), kernel.dim(3)}), c[w.bias]);
    penalize(c, activity, name, y);
    return y;
  }

  mutable std::atomic<bool> told_{false};

  // A floating mask of nothing but 0 and 1 was most likely meant to keep keys. Told once.
  void warn_of_keep_mask(const Call& c, const Tensor& bias) const {
    if (told_.load(std::memory_order_relaxed)) return;
    const attn_view v = bias.read();
    bool ones = false;
    for (int64_t b = 0; b < v.shape[0]; ++b)
      for (int64_t q = 0; q < v.shape[2]; ++q)
        for (int64_t k = 0; k < v.shape[3]; ++k) {
          const int64_t at = b * v.stride[0] + q * v.stride[2] + k * v.stride[3];
          const double x = v.dtype == ATTN_F64 ? data<double>(v)[at] : data<float>(v)[at];
          if (x != 0 && x != 1) return;
          ones = ones || x == 1;
        }
    if (!ones || told_.exchange(true)) return;
    c.raw().engine->log(ATTN_LOG_WARNING,
                        "non_local: this attention_mask holds only 0 and 1, but a floating mask is "
                        "added to the scores; give whole numbers or booleans to keep keys");
  }

  // A mask of whole numbers keeps keys; a floating one is added to the scores, aligned at its last
  // axis. Its rows of nothing but -infinity are the operator's to ignore.
  static void read_mask(const Tensor& mask, int32_t dtype, int64_t batch, int64_t pixels,
                        Tensor& keep, Tensor& bias) {
    if (!mask) return;
    if (!mask.is_floating()) {
      keep = mask;
      return;
    }
    const int rank = mask.rank();
    const std::array<int64_t, 3> full{batch, pixels, pixels};
    std::array<int64_t, 3> shape{1, 1, 1};
    bool fits = rank <= 3;
    for (int i = 0; fits && i < rank; ++i) {
      const size_t at = static_cast<size_t>(3 - rank + i);
      shape[at] = mask.dim(i);
      fits = shape[at] == 1 || shape[at] == full[at];
    }
    if (!fits)
      fail(
          "a floating attention_mask is added to the scores (batch, query, key) = ({}, {}, "
          "{}) and must broadcast to them, got shape {}",
          batch, pixels, pixels, mask.shape());
    const Tensor same = mask.dtype() == dtype ? mask : convert(mask, dtype);
    bias = same.reshape({shape[0], 1, shape[1], shape[2]});
  }
};

}  // namespace

ATTN_PLUGIN("non_local", "1.0.0", "Apache-2.0", NonLocalAttention)
