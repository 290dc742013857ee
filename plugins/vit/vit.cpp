// SPDX-License-Identifier: Apache-2.0
//
// Self-attention of vision transformers with one of the usual ways to tell relative positions: a table (Liu et al. 2021,
// eq. 4; Bao et al. 2021), a small network with cosine scores (Liu et al. 2022, eq. 2-4), buckets of distances (Raffel
// et al. 2020), rotations by row and column (Fang et al. 2023), or none.
#include "bias.hpp"

#include <cmath>
#include <vector>

using namespace attn::sdk;

namespace {

struct Params : blocks::KernelsAndBiases,
                blocks::ProbabilityChoice,
                blocks::QkNorm,
                blocks::Rope,
                blocks::Score {
  int64_t dim = 0, num_heads = 0;
  std::string position_kind = "beit";
  int64_t grid_height = 14, grid_width = 14, num_prefix_tokens = 1;
  int64_t num_buckets = 32, max_distance = 128, cpb_hidden_dim = 512;
  std::optional<int64_t> pretrained_grid_size;
  double dropout_rate = 0.0, rope_theta = 10000.0;
  bool qv_bias = true, proj_bias = true;
  std::optional<double> qk_scale;
};

struct Arguments {
  bool return_attention_weights = false;
};

enum class Kind { none, swin, swin_v2, beit, t5, rope };
Kind kind_of(const Params& p) {
  return p.position_kind == "swin"      ? Kind::swin
         : p.position_kind == "swin_v2" ? Kind::swin_v2
         : p.position_kind == "beit"    ? Kind::beit
         : p.position_kind == "t5"      ? Kind::t5
         : p.position_kind == "rope"    ? Kind::rope
                                        : Kind::none;
}
bool has_grid(const Params& p) { return kind_of(p) != Kind::none && kind_of(p) != Kind::t5; }
// Scores differ by a bias.
bool has_bias(const Params& p) { return kind_of(p) != Kind::none && kind_of(p) != Kind::rope; }

struct VisionAttention : Layer<Params, Arguments> {
  static constexpr TypeInfo info{
      .id = "vit",
      .class_name = "VisionAttention",
      .description = "Self-attention of vision transformers with a choice of relative positions.",
      .use_case = "Weights of ViT, BEiT, Swin, Swin V2, EVA-02 and encoders with T5 buckets.",
      .input_shape = "(batch, num_prefix_tokens + grid_height * grid_width, dim)",
      .complexity = "O(seq_len^2 * dim)",
      .paper = "BEiT (2106.08254)"};

  static void describe(Schema<Params, Arguments>& s) {
    s.field("dim", &Params::dim).required().above(0).doc("model width");
    s.field("num_heads", &Params::num_heads).required().above(0).doc("number of heads");
    s.field("position_kind", &Params::position_kind)
        .choices({"beit", "swin", "swin_v2", "t5", "none", "rope"})
        .doc("how scores learn of relative positions");
    s.field("grid_height", &Params::grid_height)
        .above(0)
        .doc("rows of the map that the sequence is, row by row");
    s.field("grid_width", &Params::grid_width).above(0).doc("columns of that map");
    s.field("num_prefix_tokens", &Params::num_prefix_tokens)
        .at_least(0)
        .doc("tokens before the map: the class token, registers");
    s.field("num_buckets", &Params::num_buckets)
        .at_least(4)
        .doc("of t5: distances that are told apart, in both directions together");
    s.field("max_distance", &Params::max_distance)
        .above(0)
        .doc("of t5: from here on all distances are one");
    s.field("cpb_hidden_dim", &Params::cpb_hidden_dim)
        .above(0)
        .doc("of swin_v2: width of the network that makes the bias");
    s.field("pretrained_grid_size", &Params::pretrained_grid_size)
        .above(1)
        .doc(
            "of swin_v2: rows and columns of the map that weights were trained for; null: this "
            "one");
    blocks::dropout(s);
    s.field("qv_bias", &Params::qv_bias).doc("biases of queries and values; keys have none");
    s.field("proj_bias", &Params::proj_bias).doc("bias of the output projection");
    s.field("qk_scale", &Params::qk_scale)
        .doc(
            "factor of the scores; null: 1 / sqrt(dim / num_heads), 1 for t5. swin_v2 learns its "
            "own");
    blocks::probability(s);
    blocks::qk_norm(s);
    blocks::kernels_and_biases(s, "of all kernels", "of all biases");
    s.field("rope_theta", &Params::rope_theta)
        .above(0)
        .extension()
        .doc("of rope: base of the rotation frequencies");
    blocks::rope(s, true);
    blocks::score_rules(s);
    s.divisible(&Params::dim, &Params::num_heads);
    const auto is = [](Kind kind) {
      return [kind](const Params& p) { return kind_of(p) == kind; };
    };
    s.only_with("with position_kind 't5'", is(Kind::t5), &Params::num_buckets,
                &Params::max_distance);
    s.only_with("with position_kind 'swin_v2'", is(Kind::swin_v2), &Params::cpb_hidden_dim,
                &Params::pretrained_grid_size);
    s.only_with("with position_kind 'rope'", is(Kind::rope), &Params::rope_theta,
                &Params::rope_style, &Params::rope_scaling);
    s.only_with(
        "with another position_kind than 'swin_v2', which learns its own",
        [](const Params& p) { return kind_of(p) != Kind::swin_v2; }, &Params::qk_scale);
    s.rule("num_buckets ({num_buckets}) must be even",
           [](const Params& p) { return p.num_buckets % 2 == 0; });
    s.rule(
        "max_distance ({max_distance}) must be more than a quarter of num_buckets ({num_buckets})",
        [](const Params& p) { return p.max_distance > p.num_buckets / 4; });
    s.rule("position_kind 'beit' needs num_prefix_tokens of at least 1, got {num_prefix_tokens}",
           [](const Params& p) { return kind_of(p) != Kind::beit || p.num_prefix_tokens > 0; });
    s.rule(
        "position_kind 'rope' turns pairs of two axes: dim / num_heads must be a multiple of 4",
        [](const Params& p) { return kind_of(p) != Kind::rope || p.dim / p.num_heads % 4 == 0; });
    blocks::rope_pairs(s, [](const Params& p) { return p.dim / p.num_heads; });
    s.input("inputs", {"batch, seq, dim"})
        .doc("prefix tokens, then the map; all of it or its first tokens");
    blocks::attention_mask(s);
    blocks::return_attention_weights(s);
    s.output("output", "batch, seq, dim").doc("shaped as the input");
    blocks::attention_weights(s);
    describe_claims(s);
  }

  Dense query, key, value, proj, cpb_hidden, cpb_out;
  Weight table, logit_scale;
  Norm q_norm, k_norm;
  Probability attn_prob;
  std::vector<double> offsets;  // of the network: (rows of the table, 2)
  Rotary rotary;
  std::vector<int64_t> turned_by;  // rows and columns of all tokens: (2, tokens)

  void build(Builder& b) {
    const int64_t d = p.dim, h = p.num_heads, head = d / h, tokens = b.positions(0, 3);
    const Kind kind = kind_of(p);
    if (has_grid(p)) {
      check_at_most("grid_height", p.grid_height, kLargestGrid);
      check_at_most("grid_width", p.grid_width, kLargestGrid);
      check_at_most("num_prefix_tokens", p.num_prefix_tokens, kLargestGrid);
      if (tokens >= 0) check_tokens(tokens);
    }
    check_at_most("num_buckets", p.num_buckets, kLargestGrid);
    ComponentSpec narrow;
    narrow.kind = ComponentSpec::Kind::object;
    narrow.text = R"({"class_name": "TruncatedNormal", "config": {"stddev": 0.02}})";
    table = b.weight("relative_position_bias_table", {places().count(), h}, narrow, {},
                     has_bias(p) && kind != Kind::swin_v2);
    query = b.dense("query", d, d, p, p.qv_bias);
    key = b.dense("key", d, d, p, false);
    value = b.dense("value", d, d, p, p.qv_bias);
    proj = b.dense("proj", d, d, p, p.proj_bias);
    attn_prob = b.probability("attn_prob", p, h);
    q_norm = b.qk_norm("q_norm", p, {-1, h, tokens, head});
    k_norm = b.qk_norm("k_norm", p, {-1, h, tokens, head});
    if (kind == Kind::rope) {
      rotary.build_map(b, p, head, p.rope_theta);
      turned_by = map_positions(p.grid_height, p.grid_width, p.num_prefix_tokens);
    }
    if (kind != Kind::swin_v2) return;
    logit_scale = b.constant("logit_scale", {h}, std::log(10.0), ATTN_WEIGHT_TRAINABLE);
    cpb_hidden = b.dense("cpb_mlp/hidden", 2, p.cpb_hidden_dim, p, true);
    cpb_out = b.dense("cpb_mlp/out", p.cpb_hidden_dim, h, p, false);
    // Once a layer: rows of the table as logarithms of distances in units of an eighth of the trained map.
    for (int64_t down = 1 - p.grid_height; down < p.grid_height; ++down)
      for (int64_t right = 1 - p.grid_width; right < p.grid_width; ++right) {
        offsets.push_back(spaced(down, p.pretrained_grid_size.value_or(p.grid_height)));
        offsets.push_back(spaced(right, p.pretrained_grid_size.value_or(p.grid_width)));
      }
  }

  void forward(Call& c, const Arguments&) const {
    const Tensor x = c.input(0);
    check_sequence(x, p.dim);
    const int64_t tokens = x.dim(1), h = p.num_heads;
    if (has_grid(p)) check_tokens(tokens);
    const Kind kind = kind_of(p);
    Tensor q = norm(c, q_norm, split_heads(dense(c, query, x), h));
    Tensor k = norm(c, k_norm, split_heads(dense(c, key, x), h));
    const Tensor v = split_heads(dense(c, value, x), h);
    std::optional<double> scale = p.qk_scale;
    if (kind == Kind::rope) {
      const auto all = static_cast<int64_t>(turned_by.size()) / 2;
      const Tensor at = c.constant(ATTN_I64, std::array<int64_t, 3>{2, 1, all}, turned_by.data())
                            .slice(2, 0, tokens);
      q = rotary.rotate(q, 0, at);
      k = rotary.rotate(k, 0, at);
    }
    if (kind == Kind::swin_v2) {
      const Tensor sharpness = exp(minimum(c[logit_scale], std::log(100.0)));
      q = mul(unit(q), sharpness.reshape({h, 1, 1}));
      k = unit(k);
      scale = 1;
    } else if (kind == Kind::t5) {
      scale = p.qk_scale.value_or(1);
    }
    Tensor bias;
    if (has_bias(p)) {
      const attn::vit::Places at = places();
      bias = call<attn::vit::bias>({kind == Kind::swin_v2 ? network(c, x.dtype()) : c[table]},
                                   {static_cast<int64_t>(at.rows), at.height, at.width, at.prefix,
                                    at.buckets, at.farthest, tokens});
    }
    const Attended o = attention(c, q, k, v, attn_prob, {.scale = scale, .dropout = p.dropout_rate},
                                 c.input(1), bias, c.wants(1));
    if (c.wants(1)) c.output(1, o.weights);
    c.output(0, dense(c, proj, merge_heads(o.output)));
  }

 private:
  // Pairs of a map and entries of its table can still be counted.
  static constexpr int64_t kLargestGrid = 1024;

  static void describe_claims(Schema<Params, Arguments>& s) {
    const auto no_map = [](const Params& p, const Arguments&, const ClaimCall& c) {
      return has_grid(p) && c.positions() <= p.num_prefix_tokens;
    };
    // The first token of a map stands where prefix tokens do.
    const auto one_place = [](const Params& p, const Arguments&, const ClaimCall& c) {
      return kind_of(p) == Kind::rope &&
             (c.positions() <= p.num_prefix_tokens + 1 || p.qk_scale == 0);
    };
    blocks::attention(s, &Params::qk_norm_type);
    blocks::equivariant_when(
        s,
        "position_kind = none, prefix tokens alone without t5, or rope with one token more or "
        "qk_scale = 0",
        [no_map, one_place](const Params& p, const Arguments& a, const ClaimCall& c) {
          return kind_of(p) == Kind::none || no_map(p, a, c) || one_place(p, a, c);
        });
    for (const char* weight : {"query bias query/bias", "key norm k_norm", "query norm q_norm"})
      s.claim(Claim::inert, weight)
          .when("position_kind is neither swin_v2 nor rope", [](const Params& p) {
            return kind_of(p) != Kind::swin_v2 && kind_of(p) != Kind::rope;
          });
    s.claim(Claim::inert, "relative_position_bias_table in part")
        .when("t5, or a map that is not full",
              [](const Params& p, const Arguments&, const ClaimCall& c) {
                return kind_of(p) == Kind::t5 ||
                       c.positions() < p.num_prefix_tokens + p.grid_height * p.grid_width;
              });
    s.claim(Claim::inert, "cpb_mlp/").when("prefix tokens alone", no_map);
    s.claim(Claim::inert, "cpb_mlp/hidden/kernel in part")
        .when("tokens of one row or column of the map",
              [](const Params& p, const Arguments&, const ClaimCall& c) {
                return p.grid_width == 1 || c.positions() - p.num_prefix_tokens <= p.grid_width;
              });
    for (const char* weight : {"query/", "key/"})
      s.claim(Claim::inert, weight).when("swin_v2 with heads of size 1", [](const Params& p) {
        return kind_of(p) == Kind::swin_v2 && p.dim == p.num_heads;
      });
    s.claim(Claim::inert, "others").when("qk_scale = 0", [](const Params& p) {
      return p.qk_scale == 0 && kind_of(p) != Kind::swin_v2;
    });
  }

  [[nodiscard]] attn::vit::Places places() const {
    using attn::vit::Rows;
    const Kind kind = kind_of(p);
    return {kind == Kind::t5     ? Rows::buckets
            : kind == Kind::beit ? Rows::grid_and_prefix
                                 : Rows::grid,
            p.grid_height,
            p.grid_width,
            p.num_prefix_tokens,
            p.num_buckets,
            p.max_distance};
  }
  void check_tokens(int64_t tokens) const {
    const int64_t most = p.num_prefix_tokens + p.grid_height * p.grid_width;
    if (tokens > most)
      fail(
          "{} tokens are more than num_prefix_tokens + grid_height * grid_width ({} + {} * {}) "
          "has; "
          "build the layer with a larger grid, or position_kind 'none' or 't5'",
          tokens, p.num_prefix_tokens, p.grid_height, p.grid_width);
  }

  // Of swin_v2. Liu et al. 2022, eq. 4 in the units of the published models.
  static double spaced(int64_t distance, int64_t size) {
    if (size == 1) return 0;
    const double share = 8 * static_cast<double>(distance) / static_cast<double>(size - 1);
    return std::copysign(std::log2(std::fabs(share) + 1) / 3, share);
  }
  // Its table (rows, H): 16 sigmoid of the network.
  Tensor network(const Call& c, int32_t dtype) const {
    const std::array<int64_t, 2> shape{static_cast<int64_t>(offsets.size()) / 2, 2};
    const Tensor x = convert(c.constant(ATTN_F64, shape, offsets.data()), dtype);
    return affine(sigmoid(dense(c, cpb_out, relu(dense(c, cpb_hidden, x)))), 16);
  }
  static Tensor unit(const Tensor& x) {
    return div(x, sqrt(maximum(sum(square(x), {3}, true), 1e-24)));
  }
};

}  // namespace

ATTN_PLUGIN("vit", "1.0.0", "Apache-2.0", VisionAttention, Operator<attn::vit::bias>)
