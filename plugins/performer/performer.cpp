// SPDX-License-Identifier: Apache-2.0
//
// Self-attention in time linear in the length, by positive random features
// (Choromanski et al. 2020, Lemma 1 and section 2.4).
#include <attn/sdk/dispatch.hpp>
#include <attn/sdk/observe_keys.hpp>

#include "attend.hpp"
#include "draw.hpp"

ATTN_SDK_DISPATCH(attn::performer, Kernels, kernels)

using namespace attn::sdk;

namespace {

struct Params : blocks::KernelsAndBiases {
  int64_t dim = 0, num_heads = 8, nb_features = 256;
  bool causal = false;
  double ortho_scaling = 0.0, dropout_rate = 0.0;
  bool use_bias = false;
  std::optional<uint64_t> seed;
  std::string feature_map = "positive";
};

struct Arguments {
  bool return_attention_scores = false;
};

struct PerformerAttention : Layer<Params, Arguments> {
  static constexpr uint32_t flags = ATTN_TYPE_STATEFUL;
  static constexpr TypeInfo info{
      .id = "performer",
      .class_name = "PerformerAttention",
      .description = "Self-attention approximated by random features, in linear time.",
      .use_case = "Very long sequences where an approximation will do.",
      .input_shape = "(batch, seq_len, dim)",
      .complexity = "O(seq_len * nb_features * dim)",
      .paper = "Rethinking Attention with Performers (2009.14794)"};

  static void describe(Schema<Params, Arguments>& s) {
    s.field("dim", &Params::dim).required().above(0).doc("model width");
    s.field("num_heads", &Params::num_heads).above(0).doc("number of heads");
    s.field("nb_features", &Params::nb_features).above(0).doc("random features of a head");
    s.field("causal", &Params::causal).causal().doc("a position uses itself and earlier ones only");
    s.field("ortho_scaling", &Params::ortho_scaling)
        .at_least(0)
        .doc(
            "length of the random rows in units of sqrt(head size); 0: as of "
            "normal vectors");
    blocks::dropout(s, "dropout on the output");
    s.field("use_bias", &Params::use_bias).doc("biases in both projections");
    s.field("seed", &Params::seed).doc("of the random rows; null: drawn when the layer is made");
    s.field("feature_map", &Params::feature_map)
        .choices({"positive", "clamped_trig"})
        .doc("clamped_trig: for comparison only, no approximation of softmax");
    blocks::kernels_and_biases(s, "of both kernels", "of both biases");
    s.divisible(&Params::dim, &Params::num_heads);
    s.rule(
        "nb_features ({nb_features}) must be at least 2 for feature_map "
        "'clamped_trig'",
        [](const Params& p) { return p.nb_features >= 2 || p.feature_map != "clamped_trig"; });
    s.input("inputs", {"batch, seq, dim"}).doc("the sequence");
    s.argument("return_attention_scores", &Arguments::return_attention_scores)
        .alias({"return_attention_weights"})
        .doc("taken for the sake of callers that pass it; no effect: scores never exist");
    s.output("output", "batch, seq, dim").doc("shaped as the input");
    s.claims({Claim::batch_independent, Claim::deterministic});
    blocks::causal(s, &Params::causal);
    blocks::equivariant_unless(s, &Params::causal);
    for (const char* weight :
         {"qkv_projection/kernel [0 .. 1/3)", "qkv_projection/bias [0 .. 1/3)"})
      s.claim(Claim::inert, weight).when("nb_features = 1", [](const Params& p) {
        return p.nb_features == 1;
      });
  }

  int64_t head = 0;
  bool trig = false;
  Dense qkv, output;
  Weight projection;
  State sums;

  void build(Builder& b) {
    const int64_t d = p.dim, columns = product("3 * dim", 3, d);
    head = d / p.num_heads;
    trig = p.feature_map == "clamped_trig";
    if (p.nb_features > kMostNumbers / d)
      fail(
          "nb_features ({}) times dim ({}) is more than {} random "
          "numbers",
          p.nb_features, d, kMostNumbers);
    qkv = b.dense("qkv_projection", d, columns, p);
    output = b.dense("output_projection", d, d, p);
    // The host has drawn a seed where none was given.
    const uint64_t seed = p.seed.value_or(0);
    const int64_t rows = trig ? p.nb_features / 2 : p.nb_features;
    const std::vector<float> numbers =
        trig ? attn::performer::draw_normal(seed, p.num_heads, rows, head, p.ortho_scaling)
             : attn::performer::draw_orthogonal(seed, p.num_heads, rows, head, p.ortho_scaling);
    projection = b.buffer("projection_matrix", {p.num_heads, rows, head}, ATTN_F32, numbers.data(),
                          ATTN_WEIGHT_OPTIONAL_IN_FILE);
    const uint32_t words[]{static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)};
    b.buffer("projection_seed", {2}, ATTN_U32, words, ATTN_WEIGHT_OPTIONAL_IN_FILE);
    if (p.causal) sums = b.value("sums", {-1, p.num_heads, trig ? 2 * rows : rows, head + 2});
  }

  void forward(Call& c, const Arguments&) const {
    const Tensor x = c.input(0);
    if (x.rank() == 3 && x.dim(2) != p.dim)
      fail("Last dimension of input ({}) must match dim ({}), got shape {}", x.dim(2), p.dim,
           x.shape());
    check_sequence(x, p.dim);
    const Tensor a = dense(c, qkv, x);
    const Tensor q = split_heads(a, p.num_heads, 0, 3), k = split_heads(a, p.num_heads, 1, 3),
                 v = split_heads(a, p.num_heads, 2, 3), w = c[projection];
    const Tensor before = p.causal ? c.get(sums) : Tensor{};
    const bool keep = p.causal && c.stateful();
    const auto out = call<attn::performer::attend>({q, k, v, w, before},
                                                   {p.causal, trig, p.nb_features}, keep ? 3u : 1u);
    if (!c.stateful() && c.observes_map()) observe_kernel(c, q, k, v, w);
    if (keep) {
      c.set(sums, out[1]);
      c.advance(x.dim(1));
    }
    c.output(0, dropout(c, dense(c, output, merge_heads(out[0])), p.dropout_rate));
  }

 private:
  // The weights that the features imply, (B, H, n, n): what the identity in the place of the values gives, as many of its
  // columns at a time as values have.
  void observe_kernel(const Call& c, const Tensor& q, const Tensor& k, const Tensor& v,
                      const Tensor& w) const {
    const int64_t batch = v.dim(0), heads = v.dim(1), n = v.dim(2), width = v.dim(3);
    observe_by_keys(c, {batch, heads, n, n}, v.dtype(), width, [&](int64_t begin, int64_t end) {
      const std::array<int64_t, 2> shape{n, width};
      std::vector<float> unit(static_cast<size_t>(n * width));
      for (int64_t j = begin; j < end; ++j) unit[static_cast<size_t>(j * width + j - begin)] = 1;
      const Tensor columns = convert(c.constant(ATTN_F32, shape, unit.data()), v.dtype());
      const auto out = call<attn::performer::attend>(
          {q, k, broadcast_to(columns, {batch, heads, n, width}), w, Tensor{}},
          {p.causal, trig, p.nb_features}, 1u);
      return out[0].slice(3, 0, end - begin);
    });
  }
  static constexpr int64_t kMostNumbers = int64_t{1} << 31;
};

}  // namespace

ATTN_PLUGIN("performer", "1.0.0", "Apache-2.0", PerformerAttention,
            Operator<attn::performer::attend>)
