// SPDX-License-Identifier: Apache-2.0
//
// Self-attention to the nearest tokens of a sequence, a map or frames of maps (Hassani et al. 2023; dilated: Hassani and
// Shi 2022): a score program, whose mask rule leaves out whatever tiles no query sees.
#include "grid.hpp"

#include <attn/sdk/plugin.hpp>

#include <algorithm>
#include <limits>
#include <vector>

using namespace attn::sdk;
using attn::neighborhood::Axis;
using attn::neighborhood::Grid;

namespace {

struct Params : blocks::KernelsAndBiases, blocks::ProbabilityChoice, blocks::QkNorm, blocks::Score {
  int64_t dim = 0, num_heads = 8;
  std::vector<int64_t> kernel_size{7, 7}, dilation{1, 1};
  int64_t num_axes = 2;
  std::optional<int64_t> grid_height;
  int64_t grid_width = 14, causal_axes = 0;
  double dropout_rate = 0.0;
  bool use_relative_position_bias = true, qkv_bias = true, proj_bias = true;
  std::optional<double> qk_scale;
};

struct Arguments {
  bool return_attention_weights = false;
};

// The one of these sizes that is for an axis: two are for the first axis and for the others.
int64_t along(const std::vector<int64_t>& sizes, int64_t axis) {
  return sizes[std::min(static_cast<size_t>(axis), sizes.size() - 1)];
}

std::vector<Axis> axes_of(const Params& p) {
  const int64_t rows = p.grid_height.value_or(p.num_axes == 3 ? p.grid_width : 0);
  std::vector<Axis> axes;
  for (int64_t i = 0; i < p.num_axes; ++i) {
    // The last axis has columns, the one before it rows, and what comes first is as long as the sequence makes it.
    const int64_t extent = p.num_axes == 1       ? 0
                           : i == p.num_axes - 1 ? p.grid_width
                           : i == p.num_axes - 2 ? rows
                                                 : 0;
    axes.push_back({extent, along(p.kernel_size, i), along(p.dilation, i), i < p.causal_axes});
  }
  return axes;
}
Grid grid_of(const Params& p, const ClaimCall& c) { return {axes_of(p), c.positions()}; }

struct NeighborhoodAttention : Layer<Params, Arguments> {
  static constexpr TypeInfo info{
      .id = "neighborhood",
      .class_name = "NeighborhoodAttention",
      .description = "Self-attention of each token to its nearest ones on a grid.",
      .use_case = "Vision transformers on large maps, long sequences and video.",
      .input_shape = "(batch, seq_len, dim)",
      .complexity = "O(seq_len * kernel_size^num_axes * dim)",
      .paper = "Neighborhood Attention Transformer (2204.07143)"};

  static void describe(Schema<Params, Arguments>& s) {
    s.field("dim", &Params::dim).required().above(0).doc("model width");
    s.field("num_heads", &Params::num_heads).above(0).doc("number of heads");
    s.field("kernel_size", &Params::kernel_size)
        .above(0)
        .doc("tokens that a token sees along each axis; [first axis, the others], or of each axis");
    s.field("dilation", &Params::dilation)
        .above(0)
        .doc("distance of tokens that see each other; [first axis, the others], or of each axis");
    s.field("num_axes", &Params::num_axes)
        .between(1, 3)
        .doc("1: the sequence; 2: a map, row by row; 3: frames of maps, one after the other");
    s.field("grid_height", &Params::grid_height)
        .above(0)
        .doc(
            "rows of a map; null: as many as the sequence has, or with three axes grid_width. Not "
            "with one axis");
    s.field("grid_width", &Params::grid_width).above(0).doc("columns of a map; not with one axis");
    s.field("causal_axes", &Params::causal_axes)
        .between(0, 3)
        .doc("along so many of the first axes a token sees itself and earlier ones only");
    blocks::dropout(s);
    s.field("use_relative_position_bias", &Params::use_relative_position_bias)
        .doc("a learned number for each distance and head, added to the scores");
    s.field("qkv_bias", &Params::qkv_bias).doc("bias of the query, key and value projection");
    s.field("proj_bias", &Params::proj_bias).doc("bias of the output projection");
    s.field("qk_scale", &Params::qk_scale)
        .doc("factor of the scores; null: 1 / sqrt(dim / num_heads)");
    blocks::probability(s);
    blocks::qk_norm(s);
    blocks::kernels_and_biases(s, "of both kernels", "of both biases");
    blocks::score_rules(s);
    s.divisible(&Params::dim, &Params::num_heads);
    s.only_with(
        "with num_axes 2 or 3", [](const Params& p) { return p.num_axes > 1; },
        &Params::grid_height, &Params::grid_width);
    s.rule("causal_axes ({causal_axes}) must be at most num_axes ({num_axes})",
           [](const Params& p) { return p.causal_axes <= p.num_axes; });
    s.rule("kernel_size and dilation of a single axis must be single numbers", [](const Params& p) {
      const auto single = [](const std::vector<int64_t>& sizes) {
        return sizes.size() == 2 && sizes[0] == sizes[1];
      };
      return p.num_axes > 1 || (single(p.kernel_size) && single(p.dilation));
    });
    s.rule(
        "kernel_size ({kernel_size}) and dilation ({dilation}) must have a number for each of "
        "{num_axes} axes: one for all, [first axis, the others], or with num_axes 3 [frames, rows, "
        "columns]",
        [](const Params& p) {
          return p.num_axes == 3 || (p.kernel_size.size() == 2 && p.dilation.size() == 2);
        });
    s.input("inputs", {"batch, seq, dim"})
        .doc("tokens of the grid, the last axis fastest; all of them or the first ones");
    blocks::attention_mask(s);
    blocks::return_attention_weights(s);
    s.output("output", "batch, seq, dim").doc("shaped as the input");
    blocks::attention_weights(s);
    describe_claims(s);
  }

  Weight table;
  Dense qkv, proj;
  Norm q_norm, k_norm;
  Probability attn_prob;
  std::string rule, score, captured;  // programs, and the names of their tables

  void build(Builder& b) {
    const int64_t d = p.dim, h = p.num_heads, tokens = b.positions(0, 3);
    for (const int64_t n : p.kernel_size) check_at_most("kernel_size", n, kLargestKernel);
    for (const int64_t n : p.dilation) check_at_most("dilation", n, kLargestGrid);
    check_at_most("grid_height", p.grid_height.value_or(1), kLargestGrid);
    check_at_most("grid_width", p.grid_width, kLargestGrid);
    if (tokens >= 0) check_tokens(tokens);
    const std::vector<Axis> axes = axes_of(p);
    check_span(axes);
    table = declare_table(b);
    qkv = b.dense("qkv", d, product("3 * dim", 3, d), p, p.qkv_bias);
    proj = b.dense("proj", d, d, p, p.proj_bias);
    attn_prob = b.probability("attn_prob", p, h);
    if (attn_prob.other_axis())
      fail(
          "each query has keys of its own, which needs probabilities over the keys; expected no "
          "axis in probability_config");
    join_programs(axes);
    q_norm = b.qk_norm("q_norm", p, {-1, h, tokens, d / h});
    k_norm = b.qk_norm("k_norm", p, {-1, h, tokens, d / h});
  }

  void forward(Call& c, const Arguments&) const {
    const Tensor x = c.input(0);
    check_sequence(x, p.dim);
    check_tokens(x.dim(1));
    const Tensor y = dense(c, qkv, x);
    const Tensor q = norm(c, q_norm, split_heads(y, p.num_heads, 0, 3));
    const Tensor k = norm(c, k_norm, split_heads(y, p.num_heads, 1, 3));
    const Tensor v = split_heads(y, p.num_heads, 2, 3);
    const AttentionOptions o{.scale = p.qk_scale, .dropout = p.dropout_rate};
    const Attended a =
        attention(c, q, k, v, attn_prob, o, c.input(1), {}, c.wants(1), {}, {.tables = {c[table]}});
    if (c.wants(1)) c.output(1, a.weights);
    c.output(0, dense(c, proj, merge_heads(a.output)));
  }

 private:
  // Entries of the table can still be counted, and the numbers of the programs have 32 bits.
  static constexpr int64_t kLargestKernel = 1024, kLargestGrid = 32768;

  static void describe_claims(Schema<Params, Arguments>& s) {
    blocks::attention(s, &Params::qk_norm_type);
    blocks::without_norm_of_positions(
        s.claim(Claim::reaches, "inputs", "the neighborhood of the token",
                [](const Params& p, auto&, const ClaimCall& c, int64_t out, int64_t in) {
                  return grid_of(p, c).sees(out, in);
                }));
    blocks::without_norm_of_positions(
        s.claim(Claim::causal)
            .when("causal_axes = num_axes",
                  [](const Params& p) { return p.causal_axes == p.num_axes; })
            // A text may read how many keys there are.
            .when("no score program or mask rule",
                  [](const Params& p) { return !p.score && !p.mask_rule; }));
    blocks::equivariant_when(
        s, "each token sees itself alone, or all without use_relative_position_bias",
        [](const Params& p, auto&, const ClaimCall& c) {
          const Grid grid = grid_of(p, c);
          return grid.is_alone() || (grid.is_open() && !p.use_relative_position_bias);
        });
    blocks::inert(
        s, {"key bias qkv/bias [1/3 .. 2/3)", "query bias qkv/bias [0 .. 1/3)", "key norm k_norm"});
    s.claim(Claim::inert, "relative_position_bias_table in part")
        .when("not every distance occurs", [](const Params& p, auto&, const ClaimCall& c) {
          return !grid_of(p, c).has_all_distances();
        });
    s.claim(Claim::inert, "others")
        .when("qk_scale = 0, or each token sees itself alone, without sinks",
              [](const Params& p, auto&, const ClaimCall& c) {
                return p.qk_scale == 0 || (grid_of(p, c).is_alone() && !p.use_sinks);
              });
  }

  // The programs count tokens in 32 bits.
  static void check_span(const std::vector<Axis>& axes) {
    int64_t step = 1;
    for (size_t i = 1; i < axes.size(); ++i) step *= axes[i].extent;
    const int64_t span = axes[0].window * axes[0].dilation * step;
    if (span > std::numeric_limits<int32_t>::max())
      fail(
          "a window along the first axis spans {} tokens (kernel_size {} * dilation {} * {} tokens "
          "of the other axes); expected fewer than 2^31; choose a smaller grid, kernel or dilation",
          span, axes[0].window, axes[0].dilation, step);
  }
  void check_tokens(int64_t tokens) const {
    if (p.num_axes == 2 && p.grid_height && tokens > *p.grid_height * p.grid_width)
      fail(
          "{} tokens are more than grid_height * grid_width ({} * {}) has; build the layer with a "
          "larger grid, or grid_height null",
          tokens, *p.grid_height, p.grid_width);
  }

  // A layer's texts come first: they say what the table is added to, and which of the near keys exist.
  void join_programs(const std::vector<Axis>& axes) {
    rule = programs::neighborhood(axes);
    if (p.mask_rule) rule = "(" + *p.mask_rule + ") && " + rule;
    attn_prob.mask_rule = rule.c_str();
    if (!p.use_relative_position_bias) return;
    score = programs::neighborhood_bias(axes, p.score ? "(" + *p.score + ")" : "s",
                                        "relative_position_bias_table");
    attn_prob.score = score.c_str();
    if (attn_prob.captures) captured = attn_prob.captures.c->attrs[0].u.s;
    captured += (captured.empty() ? "" : ",") + std::string("relative_position_bias_table");
    attn_prob.captured = captured.c_str();
  }

  Weight declare_table(Builder& b) const {
    ComponentSpec narrow;
    narrow.kind = ComponentSpec::Kind::object;
    narrow.text = R"({"class_name": "TruncatedNormal", "config": {"stddev": 0.02}})";
    const auto distances = [&](int64_t axis) { return 2 * along(p.kernel_size, axis) - 1; };
    const int64_t h = p.num_heads, n = distances(0), m = distances(1);
    const auto declare = [&](std::initializer_list<int64_t> shape) {
      return b.weight("relative_position_bias_table", shape, narrow, {},
                      p.use_relative_position_bias);
    };
    return p.num_axes == 1   ? declare({h, n})
           : p.num_axes == 2 ? declare({h, n, m})
                             : declare({h, n, m, distances(2)});
  }
};

}  // namespace

ATTN_PLUGIN("neighborhood", "1.0.0", "Apache-2.0", NeighborhoodAttention)
