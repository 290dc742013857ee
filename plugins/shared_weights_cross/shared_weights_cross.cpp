// SPDX-License-Identifier: Apache-2.0
//
// Two modalities in one sequence attend to each other, never to themselves, with one set of
// projections: co-attention (Lu et al. 2019) with tied weights. With four split sizes only the
// anchor tokens of a modality can be attended to.
#include <attn/sdk/plugin.hpp>
#include <attn/sdk/read_mask.hpp>

#include <array>
#include <limits>

using namespace attn::sdk;

namespace {

struct Params : blocks::KernelsAndBiases, blocks::ProbabilityChoice, blocks::Score, blocks::QkNorm {
  int64_t dim = 0, num_heads = 8;
  double dropout_rate = 0.0;
  bool use_bias = true;
};

struct Arguments {
  std::span<const int64_t> split_sizes;
};

struct Range {
  int64_t begin, end;
  [[nodiscard]] int64_t size() const { return end - begin; }
};

// Which tokens are queries and which keys. Direction 0: queries of A, keys of B; 1: the other way round.
struct Split {
  std::array<Range, 2> queries, keys;
};

Split split_of(std::span<const int64_t> sizes, int64_t length) {
  if (sizes.size() != 2 && sizes.size() != 4)
    fail(
        "split_sizes must have length 2 or 4, got {}; give [a, b] or [a anchors, a queries, b "
        "anchors, b queries]",
        sizes.size());
  int64_t sum = 0;
  for (const int64_t n : sizes) {
    if (n < 0) fail("split_sizes must not be negative, got {}", n);
    sum = n > std::numeric_limits<int64_t>::max() - sum ? std::numeric_limits<int64_t>::max()
                                                        : sum + n;
  }
  if (sum != length)
    fail("Sum of split_sizes ({}) must equal total sequence length ({})", sum, length);
  const bool anchors = sizes.size() == 4;
  const int64_t a = anchors ? sizes[0] + sizes[1] : sizes[0];
  const int64_t keys_a = sizes[0], keys_b = anchors ? sizes[2] : sizes[1];
  return {.queries = {Range{0, a}, Range{a, length}},
          .keys = {Range{a, a + keys_b}, Range{0, keys_a}}};
}

// Which of the parts a position is in.
size_t part_of(std::span<const int64_t> sizes, int64_t position) {
  size_t part = 0;
  while (part < sizes.size() && position >= sizes[part]) position -= sizes[part++];
  return part;
}

struct SharedWeightsCrossAttention : Layer<Params, Arguments> {
  static constexpr TypeInfo info{
      .id = "shared_weights_cross",
      .class_name = "SharedWeightsCrossAttention",
      .description =
          "Two modalities in one sequence attend to each other with the same projections.",
      .use_case = "Multi-modal exchange with few parameters.",
      .input_shape = "(batch, total_seq_len, dim)",
      .complexity = "O(total_seq_len^2 * dim), linear in the query tokens with anchors",
      .paper = "none known; co-attention as in ViLBERT (1908.02265)"};

  static void describe(Schema<Params, Arguments>& s) {
    s.field("dim", &Params::dim).required().above(0).doc("model width");
    s.field("num_heads", &Params::num_heads).above(0).doc("number of heads");
    blocks::dropout(s);
    s.field("use_bias", &Params::use_bias).doc("biases in both projections");
    blocks::kernels_and_biases(s, "of both kernels", "of both biases");
    blocks::probability(s);
    blocks::qk_norm(s);
    blocks::score_rules(s);
    s.divisible(&Params::dim, &Params::num_heads);
    s.input("inputs", {"batch, seq, dim"}).doc("modality A, then modality B");
    blocks::attention_mask(s, "keys that may be used (> 0), over the whole sequence");
    s.argument("split_sizes", &Arguments::split_sizes)
        .required()
        .doc("[a, b] or [a anchors, a queries, b anchors, b queries]; sums to the sequence length");
    s.output("output", "batch, seq, dim").doc("tokens in the order of the input");
    blocks::attention(s, &Params::qk_norm_type);
    blocks::without_norm_of_positions(blocks::over_keys(
        s.claim(Claim::reaches, "inputs", "itself and the keys of the other modality",
                [](auto&, const Arguments& a, const ClaimCall& c, int64_t out, int64_t in) {
                  const Split split = split_of(a.split_sizes, c.positions());
                  const Range& keys = split.keys[out < split.queries[0].end ? 0 : 1];
                  return in == out || (in >= keys.begin && in < keys.end);
                })));
    s.claim(Claim::equivariant, "inputs", "inside each part of split_sizes",
            [](auto&, const Arguments& a, auto&, int64_t i, int64_t j) {
              return part_of(a.split_sizes, i) == part_of(a.split_sizes, j);
            });
    blocks::inert(s, {"key bias qkv/bias [1/3 .. 2/3)", "query bias qkv/bias [0 .. 1/3)",
                      "key norm k_norm", "query norm q_norm"});
    s.claim(Claim::inert, "others")
        .when("the first of two split_sizes is 0", [](const Params&, const Arguments& a) {
          return a.split_sizes.size() == 2 && a.split_sizes[0] == 0;
        });
  }

  Dense qkv, proj;
  Norm q_norm, k_norm;
  Probability attn_prob;

  void build(Builder& b) {
    const int64_t d = p.dim, head = p.dim / p.num_heads, columns = product("3 * dim", 3, d);
    qkv = b.dense("qkv", d, columns, p);
    proj = b.dense("proj", d, d, p);
    attn_prob = b.probability("attn_prob", p, p.num_heads);
    q_norm = b.qk_norm("q_norm", p, {-1, p.num_heads, b.positions(0, 3), head});
    k_norm = b.qk_norm("k_norm", p, {-1, p.num_heads, b.positions(0, 3), head});
  }

  void forward(Call& c, const Arguments& arguments) const {
    const Tensor x = c.input(0);
    check_sequence(x, p.dim);
    const Split split = split_of(arguments.split_sizes, x.dim(1));
    const Tensor mask = whole_mask(c.input(1), x);

    const Heads heads =
        keys_are_few(c, split, x.dim(1)) ? project_anchors(c, x, split) : project_all(c, x, split);
    const std::array<Tensor, 2> part{
        context(c, heads, mask, split, 0, "A to B"),
        context(c, heads, mask, split, 1, "B to A"),
    };
    const Tensor both = !part[0] ? part[1] : !part[1] ? part[0] : concat({&part[0], &part[1]}, 1);
    c.output(0, dense(c, proj, both));
  }

 private:
  // Queries of all tokens; keys and values of all, or of the anchors alone.
  struct Heads {
    Tensor q, k, v;
    std::array<Range, 2> keys;  // where the keys of each direction lie in k and v
  };

  // Tokens that no query uses need no keys and values, unless the norm of the keys takes all of them.
  [[nodiscard]] bool keys_are_few(const Call& c, const Split& split, int64_t length) const {
    const int64_t keys = split.keys[0].size() + split.keys[1].size();
    const bool statistics = c.training() && k_norm.has(ATTN_COMPONENT_STATISTICS);
    return keys > 0 && keys < length && !k_norm.takes_all_positions() && !statistics;
  }

  Heads project_all(Call& c, const Tensor& x, const Split& split) const {
    const Tensor a = dense(c, qkv, x);
    return {norm(c, q_norm, split_heads(a, p.num_heads, 0, 3)),
            norm(c, k_norm, split_heads(a, p.num_heads, 1, 3)), split_heads(a, p.num_heads, 2, 3),
            split.keys};
  }

  Heads project_anchors(Call& c, const Tensor& x, const Split& split) const {
    const int64_t d = p.dim;
    const Range of_a = split.keys[1], of_b = split.keys[0];
    const Tensor w = c[qkv.kernel], bias = c[qkv.bias];
    const auto columns = [&](int64_t begin, int64_t end, const Tensor& from) {
      return linear(from, w.slice(1, begin, end), bias ? bias.slice(0, begin, end) : bias);
    };
    const Tensor anchors_a = of_a.size() ? x.slice(1, of_a.begin, of_a.end) : Tensor{};
    const Tensor anchors_b = of_b.size() ? x.slice(1, of_b.begin, of_b.end) : Tensor{};
    const Tensor anchors = !anchors_a   ? anchors_b
                           : !anchors_b ? anchors_a
                                        : concat({&anchors_a, &anchors_b}, 1);
    const Tensor a = columns(d, 3 * d, anchors);
    return {norm(c, q_norm, split_heads(columns(0, d, x), p.num_heads)),
            norm(c, k_norm, split_heads(a, p.num_heads, 0, 2)),
            split_heads(a, p.num_heads, 1, 2),
            {Range{of_a.size(), of_a.size() + of_b.size()}, Range{0, of_a.size()}}};
  }

  // One direction: (batch, rows, dim); empty without rows.
  Tensor context(Call& c, const Heads& heads, const Tensor& mask, const Split& split,
                 size_t direction, const char* label) const {
    const Range rows = split.queries[direction], keys = heads.keys[direction];
    if (rows.size() == 0) return {};
    const Tensor queries = heads.q.slice(2, rows.begin, rows.end);
    if (keys.size() == 0) {
      // No keys: zeros of the queries' shape, whatever the queries hold.
      const double zero = 0.0;  // all bits are zero in every dtype
      const std::array<int64_t, 1> one{1};
      const Tensor nothing = c.constant(queries.dtype(), one, &zero);
      return merge_heads(where(nothing, queries, nothing));
    }
    c.label(label);
    const Attended o = attention(
        c, queries, heads.k.slice(2, keys.begin, keys.end), heads.v.slice(2, keys.begin, keys.end),
        attn_prob, {.dropout = p.dropout_rate}, block(mask, rows, split.keys[direction]));
    return merge_heads(o.output);
  }

  // The mask over the whole sequence as rank 4, its extents checked; an absent one stays absent.
  [[nodiscard]] Tensor whole_mask(const Tensor& mask, const Tensor& x) const {
    if (!mask) return {};
    const ScoresShape scores{x.dim(0), p.num_heads, x.dim(1), x.dim(1)};
    check_mask(mask.handle()->view, scores);
    const attn_view v = mask_axes(mask.handle()->view);
    if (v.shape[3] != x.dim(1) && !attn_prob.other_axis())
      fail("mask of shape {} has extent 1 along the keys: it cannot mask any of {}", mask.shape(),
           scores_text(scores));
    return mask.reshape(std::span<const int64_t>(v.shape, 4));
  }

  // The part of the mask that a direction uses; axes of extent 1 stay.
  static Tensor block(const Tensor& mask, Range rows, Range columns) {
    if (!mask) return {};
    const Tensor some = mask.dim(2) > 1 ? mask.slice(2, rows.begin, rows.end) : mask;
    return some.dim(3) > 1 ? some.slice(3, columns.begin, columns.end) : some;
  }
};

}  // namespace

ATTN_PLUGIN("shared_weights_cross", "1.0.0", "Apache-2.0", SharedWeightsCrossAttention)
