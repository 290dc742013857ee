// SPDX-License-Identifier: Apache-2.0
//
// Self-attention inside square windows of a grid, with a learned bias for relative positions (Liu et
// al. 2021, eq. 4 and section 3.2).
#include "operators.hpp"

using namespace attn::sdk;

namespace {

struct Params : blocks::KernelsAndBiases, blocks::ProbabilityChoice, blocks::Score, blocks::QkNorm {
  int64_t dim = 0, window_size = 0, num_heads = 0;
  double attn_dropout_rate = 0.0;
  bool qkv_bias = true;
  std::optional<double> qk_scale;
  bool proj_bias = true, use_relative_position_bias = true;
  std::string attention_mode = "linear";
  int64_t kan_grid_size = 5, kan_spline_order = 3;
  std::optional<std::string> kan_activation = "swish";
  std::string window_partition = "grid";
};

attn::window::Grid grid_of(const Params& p, int64_t tokens) {
  return {tokens, p.window_size, p.window_partition == "zigzag"};
}

struct WindowAttention : Layer<Params> {
  static constexpr TypeInfo info{
      .id = "window",
      .class_name = "WindowAttention",
      .description = "Self-attention inside square windows with a relative position bias.",
      .use_case = "Vision transformers on large feature maps.",
      .input_shape = "(batch, window_size^2, dim)",
      .complexity = "O(seq_len * window_size^2 * dim)",
      .paper = "Swin Transformer (2103.14030)"};

  static void describe(Schema<Params>& s) {
    s.field("dim", &Params::dim).required().above(0).doc("model width");
    s.field("window_size", &Params::window_size)
        .required()
        .above(0)
        .doc("rows and columns of a window");
    s.field("num_heads", &Params::num_heads).required().above(0).doc("number of heads");
    s.field("attn_dropout_rate", &Params::attn_dropout_rate)
        .between(0, 1)
        .alias({"dropout_rate"})
        .doc("dropout on the attention weights");
    s.field("qkv_bias", &Params::qkv_bias).doc("bias of the query, key and value projection");
    s.field("qk_scale", &Params::qk_scale)
        .doc("factor of the scores; null: 1 / sqrt(dim / num_heads)");
    s.field("proj_bias", &Params::proj_bias).doc("bias of the output projection");
    s.field("use_relative_position_bias", &Params::use_relative_position_bias)
        .doc("a learned number for each distance and head, added to the scores");
    s.field("attention_mode", &Params::attention_mode)
        .choices({"linear"})
        .doc("kind of the key projection");
    s.field("kan_grid_size", &Params::kan_grid_size)
        .above(0)
        .doc("of a spline key projection; no effect in mode linear");
    s.field("kan_spline_order", &Params::kan_spline_order)
        .above(0)
        .doc("of a spline key projection; no effect in mode linear");
    s.field("kan_activation", &Params::kan_activation)
        .activation()
        .doc("of a spline key projection; no effect in mode linear");
    blocks::probability(s);
    blocks::qk_norm(s);
    blocks::kernels_and_biases(s, "of both kernels", "of both biases");
    blocks::score_rules(s);
    s.field("window_partition", &Params::window_partition)
        .choices({"grid", "zigzag"})
        .extension()
        .doc("zigzag: windows are runs of a walk along the anti-diagonals of the grid");
    s.divisible(&Params::dim, &Params::num_heads);
    s.input("inputs", {"batch, seq, dim"})
        .doc("a sequence, laid out row by row on the smallest square grid that holds it");
    s.input("attention_mask", {"batch, key", "batch, query, key"})
        .mask()
        .doc("tokens that may be used (> 0); rank 3 only for one window, seq = window_size^2");
    s.output("output", "batch, seq, dim").doc("shaped as the input");
    const auto one_window = [](const Params& p, auto&, const ClaimCall& c) {
      return p.window_size * p.window_size >= c.positions();
    };
    blocks::batch_independent(s, &Params::qk_norm_type);
    s.claim(Claim::deterministic);
    blocks::over_keys(s.claim(Claim::mask_respected));
    s.claim(Claim::mask_neutral)
        .when("windows without padding", [](const Params& p, auto&, const ClaimCall& c) {
          const attn::window::Grid grid = grid_of(p, c.positions());
          return grid.windows() * grid.cells() == grid.tokens;
        });
    blocks::without_norm_of_positions(
        s.claim(Claim::reaches, "inputs", "the same window of the grid",
                [](const Params& p, auto&, const ClaimCall& c, int64_t out, int64_t in) {
                  const attn::window::Grid grid = grid_of(p, c.positions());
                  return grid.window_of(out) == grid.window_of(in);
                }));
    blocks::equivariant_when(s, "window_size = 1, or one window without use_relative_position_bias",
                             [one_window](const Params& p, auto& a, const ClaimCall& c) {
                               return p.window_size == 1 ||
                                      (one_window(p, a, c) && !p.use_relative_position_bias);
                             });
    blocks::inert(s, {"key bias single_window_attention/qkv/bias [1/3 .. 2/3)",
                      "query bias single_window_attention/qkv/bias [0 .. 1/3)",
                      "key norm single_window_attention/k_norm",
                      "query norm single_window_attention/q_norm"});
    blocks::over_keys(
        s.claim(Claim::inert, "single_window_attention/relative_position_bias_table in part"))
        .when("one window that is not full", [](const Params& p, auto&, const ClaimCall& c) {
          return p.window_size * p.window_size > c.positions();
        });
    s.claim(Claim::inert, "others")
        .when("qk_scale = 0, or window_size = 1 without heads that are normalised together",
              [](const Params& p) {
                const std::string_view axis = p.probability_config.option("axis");
                const bool one =
                    axis.empty() || axis == "-1" || axis == "3" || axis == "-2" || axis == "2";
                return (p.window_size == 1 && one) || p.qk_scale == 0;
              });
  }

  Weight table;
  Dense qkv, proj;
  Norm q_norm, k_norm;
  Probability attn_prob;

  void build(Builder& b) {
    const int64_t d = p.dim, head = d / p.num_heads, w = p.window_size,
                  columns = product("3 * dim", 3, d);
    check_at_most("window_size", w, kLargestWindow);
    ComponentSpec narrow;
    narrow.kind = ComponentSpec::Kind::object;
    narrow.text = R"({"class_name": "TruncatedNormal", "config": {"stddev": 0.02}})";
    table = b.weight("single_window_attention/relative_position_bias_table",
                     {(2 * w - 1) * (2 * w - 1), p.num_heads}, narrow, {},
                     p.use_relative_position_bias);
    qkv = b.dense("single_window_attention/qkv", d, columns, p, p.qkv_bias);
    proj = b.dense("single_window_attention/proj", d, d, p, p.proj_bias);
    attn_prob = b.probability("single_window_attention/attn_prob", p, p.num_heads);
    q_norm = b.qk_norm("single_window_attention/q_norm", p, {-1, p.num_heads, w * w, head});
    k_norm = b.qk_norm("single_window_attention/k_norm", p, {-1, p.num_heads, w * w, head});
  }

  void forward(Call& c) const {
    const Tensor x = c.input(0);
    check_sequence(x, p.dim);
    const int64_t batch = x.dim(0), tokens = x.dim(1), cells = p.window_size * p.window_size;
    check_mask(c.input(1), batch, tokens);

    // Projected before the partition: padding cells need no product, they are the bias. Queries of cells without a token
    // are left out, unless probabilities run over the queries.
    const Tensor projected = dense(c, qkv, x), mask = c.input(1);
    const attn::window::Grid grid = grid_of(p, tokens);
    const bool all = attn_prob.other_axis() || attn_prob.has_program() || is_one_window(tokens);
    const int64_t rows = all ? p.window_size : grid.rows(),
                  columns = all ? p.window_size : grid.columns(), queries = rows * columns;
    // Cells behind those of a window that is larger than the sequence are keys that are all alike: one stands for all.
    const int64_t keys = queries < cells && alike(c) ? queries + 1 : cells;
    const Tensor a = partition(projected, c[qkv.bias], batch, keys);
    const Tensor q = norm(c, q_norm, split_heads(a, p.num_heads, 0, 3));
    const Tensor k = norm(c, k_norm, split_heads(a, p.num_heads, 1, 3));
    const Tensor v = split_heads(a, p.num_heads, 2, 3);
    const Attended o =
        attention(c, keys == cells ? corner(q, rows, columns) : q.slice(2, 0, queries), k, v,
                  attn_prob, {.scale = p.qk_scale, .dropout = p.attn_dropout_rate},
                  mask_of_windows(c, mask, batch, tokens, keys), bias(c, rows, columns, keys));
    const Tensor y = reverse(merge_heads(o.output), tokens);
    c.output(0, dense(c, proj, y));
  }

 private:
  // Pairs of a window and entries of the table can still be counted.
  static constexpr int64_t kLargestWindow = 1024;

  // One window without padding is the sequence itself, row by row.
  [[nodiscard]] bool is_one_window(int64_t tokens) const {
    return tokens == p.window_size * p.window_size && !is_zigzag();
  }
  [[nodiscard]] bool is_zigzag() const { return p.window_partition == "zigzag"; }
  // Whether padding cells are keys that nothing tells apart but the table of positions.
  [[nodiscard]] bool alike(const Call& c) const {
    const auto by_cell = [&](const Norm& n) {
      return !n.takes_all_positions() && !(c.training() && n.has(ATTN_COMPONENT_STATISTICS));
    };
    return attn_prob.kind() == ProbabilityKind::softmax && !attn_prob.other_axis() &&
           !attn_prob.has_program() && by_cell(q_norm) && by_cell(k_norm) &&
           !(c.training() && p.attn_dropout_rate > 0);
  }
  [[nodiscard]] Tensor partition(const Tensor& x, const Tensor& fill, int64_t batch,
                                 int64_t cells) const {
    if (is_one_window(x.dim(1))) return x;
    return call<attn::window::partition>({x, fill}, {p.window_size, batch, cells, is_zigzag()});
  }
  [[nodiscard]] Tensor reverse(const Tensor& x, int64_t tokens) const {
    if (is_one_window(tokens)) return x;
    return call<attn::window::reverse>({x}, {p.window_size, tokens, is_zigzag()});
  }
  [[nodiscard]] Tensor corner(const Tensor& x, int64_t rows, int64_t columns) const {
    if (rows == p.window_size && columns == p.window_size) return x;
    return call<attn::window::corner>({x}, {p.window_size, rows, columns});
  }
  // Of `keys` keys: all cells of a window, or those of the corner and the one that stands for the others.
  [[nodiscard]] Tensor bias(Call& c, int64_t rows, int64_t columns, int64_t keys) const {
    const int64_t w = p.window_size, queries = rows * columns;
    if (p.use_relative_position_bias)
      return keys == w * w ? call<attn::window::position_bias>({c[table]}, {w, rows, columns})
                           : call<attn::window::counted_bias>({c[table]}, {w, rows, columns});
    if (keys == w * w) return {};
    const double count = std::log(static_cast<double>(w * w - queries));
    const Tensor last = c.constant(ATTN_F64, std::array<int64_t, 4>{1, 1, 1, 1}, &count);
    return pad(convert(last, c.input(0).dtype()), {{0, 0}, {0, 0}, {0, 0}, {queries, 0}});
  }

  // Pairs of one window are checked where attention uses them.
  void check_mask(const Tensor& mask, int64_t batch, int64_t tokens) const {
    if (!mask || (mask.rank() == 3 && is_one_window(tokens))) return;
    if (mask.rank() != 2)
      fail(
          "attention_mask of shape {}: expected (batch, key); or (batch, query, key) where the "
          "sequence is one window of the grid, of window_size^2 = {} tokens, got {}",
          mask.shape(), p.window_size * p.window_size, tokens);
    if ((mask.dim(0) != batch && mask.dim(0) != 1) || mask.dim(1) != tokens)
      fail("attention_mask of shape {} must be ({}, {})", mask.shape(), batch, tokens);
  }

  // Padding cells are masked as soon as there is a mask.
  [[nodiscard]] Tensor mask_of_windows(const Call& c, const Tensor& mask, int64_t batch,
                                       int64_t tokens, int64_t cells) const {
    if (!mask || is_one_window(tokens)) return mask;
    const float values[] = {0, 1};
    const std::array<int64_t, 1> two{2};
    const Tensor numbers = c.constant(ATTN_F32, two, values);
    const Tensor keep = where(mask, numbers.slice(0, 1, 2), numbers.slice(0, 0, 1));
    const Tensor pieces = partition(keep.reshape({mask.dim(0), tokens, 1}), {}, batch, cells);
    return pieces.reshape({pieces.dim(0), cells});
  }
};

// The name that configurations know from elsewhere. Weights are called alike, so that files of both fit both.
struct SingleWindowAttention : WindowAttention {
  static constexpr TypeInfo info{
      .id = "single_window",
      .class_name = "SingleWindowAttention",
      .description =
          "window by its other name: the sequence is one window, or as many as it needs.",
      .use_case = "Blocks whose caller has cut the map into windows already.",
      .input_shape = WindowAttention::info.input_shape,
      .complexity = WindowAttention::info.complexity,
      .paper = WindowAttention::info.paper};
};

}  // namespace

ATTN_PLUGIN("window", "1.0.0", "Apache-2.0", WindowAttention, SingleWindowAttention,
            Operator<attn::window::partition>, Operator<attn::window::corner>,
            Operator<attn::window::reverse>, Operator<attn::window::position_bias>,
            Operator<attn::window::counted_bias>)
